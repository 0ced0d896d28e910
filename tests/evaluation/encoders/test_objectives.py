"""What attacks on encoders raise, and that attacks raise it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightly_adv import APGD, PGD, ThreatModel
from lightly_adv.attacks import Attack
from lightly_adv.evaluation.encoders import (
    EmbeddingDistance,
    KNNCrossEntropy,
    MatchEmbedding,
    NeighborBank,
)
from lightly_adv.types import Objective

EPS = 0.1
ATTACKS: list[Attack] = [
    PGD(ThreatModel(eps=EPS), steps=10),
    APGD(ThreatModel(eps=EPS), steps=10),
    APGD(ThreatModel(norm="L2", eps=EPS), steps=10),
    PGD(ThreatModel(norm="L1", eps=EPS), steps=10),
]


@pytest.fixture
def encoder() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 6)]
    return nn.Sequential(*layers).requires_grad_(False)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def test_values(encoder: nn.Module, images: torch.Tensor) -> None:
    others = encoder(images.flip(0))
    found = encoder(images)
    cosine = (found * others).sum(1) / (found.norm(dim=1) * others.norm(dim=1))
    assert EmbeddingDistance(encoder, others)([images]).allclose(1 - cosine, atol=1e-6)
    squares = (found - others).square().sum(1)
    assert EmbeddingDistance(encoder, others, "l2")([images]).allclose(squares)
    for distance in ("cosine", "l2"):
        away, toward = (
            kind(encoder, others, distance)([images])
            for kind in (EmbeddingDistance, MatchEmbedding)
        )
        assert toward.equal(-away)
    with pytest.raises(ValueError, match="distance='l1' is unknown"):
        EmbeddingDistance(encoder, others, "l1")  # type: ignore[arg-type]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_attacks_raise_them_in_the_ball(
    encoder: nn.Module, images: torch.Tensor, attack: Attack, distance: str
) -> None:
    clean = encoder(images)
    bank = NeighborBank(clean, torch.tensor([0, 1, 0, 1, 1]), k=1)
    objectives: list[Objective] = [
        EmbeddingDistance(encoder, clean, distance),  # type: ignore[arg-type]
        MatchEmbedding(encoder, clean.roll(1, 0), distance),  # type: ignore[arg-type]
        KNNCrossEntropy(encoder, bank, bank.labels),
    ]
    for objective in objectives:
        generator = torch.Generator().manual_seed(0)
        (perturbed,) = attack(objective, [images], generator=generator)
        assert (objective([perturbed]) > objective([images])).all()
        delta = (perturbed - images).flatten(1)
        order = float(attack.threat_model.norm.replace("L", ""))
        assert (delta.norm(p=order, dim=1) <= EPS + 1e-5).all()
        assert perturbed.min() >= 0
        assert perturbed.max() <= 1


def test_l2_at_the_image_itself_is_smooth(
    encoder: nn.Module, images: torch.Tensor
) -> None:
    images.requires_grad_()
    objective = EmbeddingDistance(encoder, encoder(images).detach(), "l2")
    (gradient,) = torch.autograd.grad(objective([images]).sum(), images)
    assert gradient.isfinite().all()
