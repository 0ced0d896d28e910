from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Generator, Tensor

from lightly_adv import PGD, ThreatModel
from lightly_adv.training.per_view import attack_per_view

ATTACK = PGD(ThreatModel(eps=0.1), steps=1, step_size=0.1, random_start=False)
VIEWS = [torch.full((2, 3, 2, 2), 0.5), torch.full((2, 3, 2, 2), 0.4)]


def distance(views: Sequence[Tensor]) -> Tensor:
    return (views[0] - views[1]).square().sum()


def test_each_view_is_attacked_while_the_others_are_clean() -> None:
    seen: list[list[float]] = []

    def objective(views: Sequence[Tensor]) -> Tensor:
        seen.append([round(float(view.detach().mean()), 4) for view in views])
        return distance(views)

    attack = PGD(ATTACK.threat_model, steps=2, step_size=0.05, random_start=False)
    found = attack_per_view(attack, objective, VIEWS, generator=Generator())
    assert seen == [[0.5, 0.4], [0.55, 0.4], [0.5, 0.4], [0.5, 0.35]]
    assert torch.allclose(found[0], torch.tensor(0.6))
    assert torch.allclose(found[1], torch.tensor(0.3))


def test_a_joint_attack_finds_something_else() -> None:
    # The product is largest where both move up; alone, the first would move down.
    def objective(views: Sequence[Tensor]) -> Tensor:
        first, second = views
        return ((first - 0.5) * (second - 0.4) - 0.01 * first + second).sum()

    attack = PGD(ATTACK.threat_model, steps=2, step_size=0.05, random_start=False)
    joint = attack(objective, VIEWS)
    alone = attack_per_view(attack, objective, VIEWS, generator=Generator())
    assert (joint[0][0, 0, 0, 0] > alone[0][0, 0, 0, 0]).item()
    assert torch.equal(joint[1], alone[1])


def test_views_without_gradient_stay_as_they_are() -> None:
    with pytest.warns(UserWarning, match=r"does not depend on the views \[1\]"):
        found = attack_per_view(
            ATTACK, lambda views: views[0].sum(), VIEWS, generator=Generator()
        )
    assert torch.allclose(found[0], torch.tensor(0.6))
    assert found[1] is VIEWS[1]


def test_without_any_gradient_there_is_nothing_to_attack() -> None:
    with pytest.raises(ValueError, match=r"no gradient reaches them"):
        attack_per_view(ATTACK, lambda _: torch.ones(()), VIEWS, generator=Generator())


def test_the_same_generator_gives_the_same_views() -> None:
    attack = PGD(ThreatModel(eps=0.1), steps=2)
    first, second, other = (
        attack_per_view(
            attack, distance, VIEWS, generator=Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])
