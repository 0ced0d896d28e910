"""A random search that asks a classifier for nothing but its answers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from lightly_adv.threat_model import PerturbationBox, ThreatModel

LARGEST = 0.5
"""Share of the image that the first square covers."""

SMALLEST = 0.02
"""Share of the image that the last one covers."""


class Search(NamedTuple):
    """What is known of the images that still stand."""

    places: Tensor
    images: Tensor
    labels: Tensor
    box: PerturbationBox
    delta: Tensor
    margin: Tensor

    def rows(self, index: Tensor) -> Search:
        """Return some of them."""
        lower, upper, std = self.box
        box = PerturbationBox(lower[index], upper[index], std)
        places, images, labels = (each[index] for each in self[:3])
        return Search(
            places, images, labels, box, self.delta[index], self.margin[index]
        )


def broken_by_squares(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat_model: ThreatModel,
    *,
    queries: int,
    generator: Generator,
) -> Tensor:
    """Return which images a random search over squares gets misclassified.

    Every query sets one square of the image, all of it in one colour, as far as the
    threat model lets it, and keeps it where the margin of the right class does not
    grow. The squares shrink. It is a short version of the Square attack, for all norms.

    - [0] Square Attack: a query-efficient black-box adversarial attack via random
      search, 2019, https://arxiv.org/abs/1912.00049

    Args:
        model: Maps images to logits of shape (B, C).
        images: Images of shape (B, C, H, W), all of them right.
        labels: Their classes.
        threat_model: What may be done to an image.
        queries: How often the model may be asked about an image.
        generator: Source of noise, on the CPU.

    Returns:
        Bools of shape (B,), on the device of the images.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).requires_grad_(False)
        >>> images, eps = torch.rand(8, 3, 4, 4), ThreatModel(eps=0.5)
        >>> broken_by_squares(
        ...     model, images, model(images).argmax(1), eps, queries=20,
        ...     generator=Generator(),
        ... ).shape
        torch.Size([8])
    """
    broken = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    box = threat_model.box(images)
    places = torch.arange(len(images), device=images.device)
    margin = torch.full_like(places, torch.inf, dtype=torch.float32)
    left = Search(places, images, labels, box, torch.zeros_like(box.lower), margin)
    for query in range(queries):
        if query == 0:
            move = _stripes(left.delta, threat_model, generator)
        else:
            share = LARGEST * (SMALLEST / LARGEST) ** (query / queries)
            move = _squares(left.delta, threat_model, share, generator)
        left = _ask(model, left, move, threat_model)
        broken[left.places[left.margin < 0]] = True
        left = left.rows((left.margin >= 0).nonzero().flatten())
        if not len(left.places):
            break
    return broken


def _ask(
    model: nn.Module, search: Search, move: Tensor, threat_model: ThreatModel
) -> Search:
    delta = threat_model.project(search.delta + move, search.box)
    logits = model(threat_model.apply(search.images, delta, search.box)).float()
    right = logits.gather(1, search.labels[:, None])
    others = logits.scatter(1, search.labels[:, None], -torch.inf)
    margin = (right - others.amax(dim=1, keepdim=True)).squeeze(1)
    # Equal margins count, so that it wanders where the answer is flat.
    better = margin <= search.margin
    kept = torch.where(better[:, None, None, None], delta, search.delta)
    return search._replace(
        delta=kept, margin=torch.where(better, margin, search.margin)
    )


def _stripes(like: Tensor, threat_model: ThreatModel, generator: Generator) -> Tensor:
    """Return vertical stripes, each of one colour."""
    signs = _signs((*like.shape[:2], 1, like.shape[3]), generator).to(like)
    amplitude = _amplitude(like[0].numel(), threat_model)
    stripes: Tensor = amplitude * signs.expand_as(like)
    return stripes


def _squares(
    like: Tensor, threat_model: ThreatModel, share: float, generator: Generator
) -> Tensor:
    """Return one square for every image, 0 outside of it."""
    count, channels, height, width = like.shape
    side = max(round((share * height * width) ** 0.5), 1)
    high, wide = min(side, height), min(side, width)
    top = torch.randint(height - high + 1, (count, 1), generator=generator)
    start = torch.randint(width - wide + 1, (count, 1), generator=generator)
    down, along = torch.arange(height), torch.arange(width)
    rows = (down >= top) & (down < top + high)
    columns = (along >= start) & (along < start + wide)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]
    signs = _signs((count, channels, 1, 1), generator)
    amplitude = _amplitude(channels * high * wide, threat_model)
    squares: Tensor = amplitude * (inside * signs).to(like)
    return squares


def _amplitude(entries: int, threat_model: ThreatModel) -> float:
    """Return how far each of so many entries has to move to cross the ball."""
    spread = {"Linf": 1.0, "L2": entries**0.5, "L1": float(entries)}[threat_model.norm]
    amplitude: float = 2 * threat_model.eps / spread
    return amplitude


def _signs(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=generator) - 1.0
