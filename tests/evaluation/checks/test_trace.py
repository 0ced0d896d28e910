from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightly_adv.attacks import APGD, PGD, Attack, ClassificationObjective
from lightly_adv.evaluation.checks import trace
from lightly_adv.threat_model import ThreatModel


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).requires_grad_(False)


def sample_images() -> tuple[Tensor, Tensor]:
    images = torch.rand(20, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    return images, model()(images).argmax(dim=1)


def run(attack: Attack, *, batch_size: int = 20) -> trace.Trace:
    return trace.attacked(
        model(),
        *sample_images(),
        attack,
        generator=torch.Generator().manual_seed(2),
        batch_size=batch_size,
    )


@pytest.mark.parametrize("kind", [PGD, APGD])
def test_it_ends_where_the_attack_does(kind: type[Attack]) -> None:
    attack = kind(ThreatModel(eps=0.1), steps=8)
    found = run(attack)
    images, labels = sample_images()
    objective = ClassificationObjective(model(), labels)
    generator = torch.Generator().manual_seed(2)
    (perturbed,) = attack(objective, [images], generator=generator)
    logits = model()(perturbed)
    expected = functional.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(found.losses[-1], expected)
    wrong = logits.argmax(dim=1) != labels
    assert torch.equal(found.broken(steps=8), wrong)
    assert 0 < int(wrong.sum()) < 20
    assert len(found.losses) == (9 if kind is PGD else 10)


def test_images_that_leave_count_as_they_left() -> None:
    found = run(APGD(ThreatModel(eps=0.1), steps=8))
    left = found.losses[-2].isnan()
    assert left.any()
    assert torch.equal(found.broken(steps=8)[left], torch.ones(int(left.sum())) > 0)


def test_images_that_recover_count_as_where_they_are() -> None:
    losses = torch.zeros(3, 2)
    wrong = torch.tensor([[False, True], [True, True], [False, True]])
    found = trace.Trace(losses, wrong)
    assert found.broken(steps=1).tolist() == [True, True]
    assert found.broken(steps=2).tolist() == [False, True]


def test_parts_are_put_side_by_side() -> None:
    still = PGD(ThreatModel(eps=0.1), steps=3, random_start=False)
    whole, parts = run(still), run(still, batch_size=7)
    assert torch.allclose(whole.losses, parts.losses)
    assert torch.equal(whole.wrong, parts.wrong)
