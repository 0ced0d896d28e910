from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.pretext import AttentionPooling


def randomised(dim: int, *, depth: int, dropout: float = 0.1) -> AttentionPooling:
    """In double precision, with nothing left at zero or one."""
    pooling = AttentionPooling(dim, depth=depth, dropout=dropout).double()
    for parameter in pooling.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return pooling


def norm(vectors: Tensor, layer: Any) -> Tensor:
    centred = vectors - vectors.mean(dim=-1, keepdim=True)
    spread = (centred.square().mean(dim=-1, keepdim=True) + layer.eps).sqrt()
    found: Tensor = centred / spread * layer.weight + layer.bias
    return found


def gelu(x: Tensor) -> Tensor:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x * (1 + inner.tanh()) / 2


def by_hand(pooling: AttentionPooling, vectors: Tensor) -> Tensor:
    """One set after the other, one head after the other, from the paper's figure."""
    found = []
    for each in vectors:
        x = torch.cat([pooling.token[0], each])
        dim = x.shape[1]
        width = min(dim, 64)
        for layer in pooling.layers:
            state = {name: p for name, p in layer.named_parameters()}
            joint = state["self_attn.in_proj_weight"], state["self_attn.in_proj_bias"]
            q, k, v = (
                (x @ joint[0].T + joint[1])[:, i * dim : (i + 1) * dim]
                for i in range(3)
            )
            heads = []
            for start in range(0, dim, width):
                part = slice(start, start + width)
                scores = q[:, part] @ k[:, part].T / math.sqrt(width)
                shares = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
                heads.append(shares @ v[:, part])
            out = torch.cat(heads, dim=1) @ state["self_attn.out_proj.weight"].T
            x = norm(x + out + state["self_attn.out_proj.bias"], layer.norm1)
            inner = gelu(x @ state["linear1.weight"].T + state["linear1.bias"])
            out = inner @ state["linear2.weight"].T + state["linear2.bias"]
            x = norm(x + out, layer.norm2)
        found.append(x[0])
    return torch.stack(found)


@pytest.mark.parametrize(("dim", "depth"), [(128, 2), (16, 1), (64, 3)])
@pytest.mark.parametrize("training", [False, True])
def test_it_is_the_algebra_of_post_norm_layers(
    dim: int, depth: int, training: bool
) -> None:
    pooling = randomised(dim, depth=depth, dropout=0.0).train(training)
    vectors = torch.randn(3, 5, dim, dtype=torch.float64)
    expected = by_hand(pooling, vectors)
    torch.testing.assert_close(pooling(vectors), expected, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(pooling(vectors), expected, rtol=1e-9, atol=1e-9)


def test_shapes_of_the_paper() -> None:
    assert len(AttentionPooling(8, depth=13).layers) == 13
    pooling = AttentionPooling(1024, depth=1)
    (layer,) = pooling.layers
    assert isinstance(layer, nn.TransformerEncoderLayer)
    assert layer.self_attn.num_heads == 16
    assert layer.linear1.out_features == 2048
    std = layer.get_parameter("self_attn.in_proj_weight").std().item()
    assert std == pytest.approx(math.sqrt(2 / (1024 + 64)), rel=0.01)
    assert torch.equal(pooling.token, torch.zeros(1, 1, 1024))


def test_dropout_is_where_the_paper_has_it() -> None:
    (layer,) = AttentionPooling(64, depth=1, dropout=0.25).layers
    assert layer.get_submodule("self_attn").dropout == 0.25
    rates = {
        name: part.p
        for name, part in layer.named_modules()
        if isinstance(part, nn.Dropout)
    }
    assert rates == {"dropout1": 0.25, "dropout2": 0.25}


def test_the_order_of_the_vectors_does_not_matter() -> None:
    pooling = randomised(64, depth=2).eval()
    vectors = torch.randn(2, 7, 64, dtype=torch.float64)
    shuffled = vectors[:, torch.randperm(7)]
    torch.testing.assert_close(pooling(shuffled), pooling(vectors))
    assert not torch.allclose(pooling(vectors[:, :6]), pooling(vectors))


def test_it_draws_nothing_in_eval_mode() -> None:
    pooling = AttentionPooling(64, depth=1)
    vectors = torch.randn(2, 3, 64)
    assert not torch.equal(pooling(vectors), pooling(vectors))
    assert torch.equal(pooling.eval()(vectors), pooling(vectors))


def test_first_and_second_derivatives() -> None:
    pooling = randomised(4, depth=1).eval()
    vectors = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pooling, vectors)
    assert torch.autograd.gradgradcheck(pooling, vectors)


def test_widths_that_do_not_split_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dim=100 cannot be split into heads of"):
        AttentionPooling(100)


def test_at_least_one_layer() -> None:
    with pytest.raises(ValueError, match=r"depth=0 layers; expected at least 1"):
        AttentionPooling(64, depth=0)
