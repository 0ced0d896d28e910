"""Two encoders side by side, and by how much a cosine can move."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.evaluation.encoders import before_and_after, cosine_shift


def pairs(count: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, count, 3, generator=generator)
    return first, 3 * second


def cosine(x: list[float], y: list[float]) -> float:
    product = sum(a * b for a, b in zip(x, y, strict=True))
    return product / (math.hypot(*x) * math.hypot(*y))


def test_no_direction_moves_by_more_and_one_by_as_much() -> None:
    first, second = pairs()
    directions = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    for a, b, bound in zip(
        first.tolist(), second.tolist(), cosine_shift(first, second), strict=True
    ):
        moves = [abs(cosine(a, d) - cosine(b, d)) for d in directions.tolist()]
        assert max(moves) <= float(bound) + 1e-6
        both = zip(a, b, strict=True)
        worst = [x / math.hypot(*a) - y / math.hypot(*b) for x, y in both]
        assert abs(cosine(a, worst) - cosine(b, worst)) == pytest.approx(float(bound))


def test_the_bound_of_the_paper_needs_its_factor() -> None:
    first, second = pairs()
    shift = cosine_shift(first, second)
    lengths = torch.maximum(first.norm(dim=1), second.norm(dim=1))
    bound = (first - second).norm(dim=1) / lengths
    assert (shift <= 2 * bound + 1e-6).all()
    assert (shift > bound).any()


def test_a_robust_encoder_moves_less() -> None:
    torch.manual_seed(0)
    fragile = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    robust = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with torch.no_grad():
        robust.get_parameter("1.weight").mul_(0.1)
        robust.get_parameter("1.bias").fill_(3.0)
    images = list(torch.rand(3, 4, 3, 2, 2))
    found = before_and_after(fragile, robust, images, radii=[0.01, 0.1], steps=3)
    before, after = found.rows()[:2], found.rows()[2:]
    for first, second in zip(before, after, strict=True):
        assert second["val_cosine_drift"] < first["val_cosine_drift"]
        assert second["shift_q90"] < first["shift_q90"]
        assert first["eps"] == second["eps"]
    assert len(found.clean_shift) == 12
    with torch.no_grad():
        expected = cosine_shift(fragile(images[0]), robust(images[0]))
    assert torch.allclose(found.clean_shift[:4], expected)
    assert json.loads(found.to_json())["clean"]["shift_q50"] > 0
    assert "| after | 0.1 |" in found.to_markdown()


def test_no_radius_is_refused() -> None:
    with pytest.raises(ValueError, match=r"radii is empty.*4 / 255"):
        before_and_after(nn.Flatten(), nn.Flatten(), [], radii=[])
