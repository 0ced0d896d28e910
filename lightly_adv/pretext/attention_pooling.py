"""Attention pooling: one vector from a set of vectors."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv.pretext import second_derivatives

HEAD_DIM = 64
"""Width of one attention head."""


class AttentionPooling(nn.Module):
    """Pool a set of vectors with transformer layers and a learned token.

    The token joins the set; what the last layer makes of it is the result. The layers
    are post-norm encoder layers with heads of width 64, a feed-forward part twice as
    wide as the vectors, and the tanh form of GELU. Without positions of their own the
    vectors are a set: their order does not matter.

    - [0] Selfie: Self-supervised Pretraining for Image Embedding, 2019,
      https://arxiv.org/abs/1906.02940
    - [1] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        dim: Width of the vectors, a multiple of 64 or below 64.
        depth: Number of layers. The network of [1] has 13.
        dropout: Dropout on attention weights and on the output of both parts of each
            layer.

    Raises:
        ValueError: If `dim` cannot be split into heads, or if `depth` is below 1.

    Examples:
        >>> pooling = AttentionPooling(dim=128, depth=1)
        >>> pooling(torch.rand(2, 12, 128)).shape
        torch.Size([2, 128])
    """

    def __init__(self, dim: int, *, depth: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        if dim > HEAD_DIM and dim % HEAD_DIM:
            raise ValueError(
                f"dim={dim} cannot be split into heads of width {HEAD_DIM}; choose a "
                "backbone, or a stage of it, whose width is a multiple."
            )
        if depth < 1:
            raise ValueError(f"depth={depth} layers; expected at least 1.")
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.layers = nn.ModuleList(_layer(dim, dropout) for _ in range(depth))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the pooled vectors (B, D) of sets of vectors (B, N, D)."""
        token = self.token.expand(len(vectors), -1, -1)
        found = torch.cat([token, vectors], dim=1)
        # Gradient diversity takes second derivatives.
        with second_derivatives.attention_kernels():
            for layer in self.layers:
                found = layer(found)
        return found[:, 0]


def _layer(dim: int, dropout: float) -> nn.TransformerEncoderLayer:
    layer = nn.TransformerEncoderLayer(
        dim,
        nhead=max(dim // HEAD_DIM, 1),
        dim_feedforward=2 * dim,
        dropout=dropout,
        activation=functools.partial(F.gelu, approximate="tanh"),
        batch_first=True,
    )
    layer.dropout = nn.Identity()  # type: ignore[assignment]  # inside, none in [1]
    head_dim = min(dim, HEAD_DIM)
    nn.init.normal_(layer.self_attn.in_proj_weight, std=math.sqrt(2 / (dim + head_dim)))
    nn.init.xavier_normal_(layer.self_attn.out_proj.weight)
    return layer
