from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.training import streams
from lightly_adv.training.cost import StepCost
from lightly_adv.training.per_view import attack_per_view
from lightly_adv.training.step_objective import StepObjective
from lightly_adv.training.views import select_views

BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"
COUNT: Any = runpy.run_path(str(BENCHMARKS / "operations.py"))["count"]
"""Counts operations, here as in the benchmarks."""

LARGE = [torch.rand(4, 3, 16, 16) for _ in range(2)]
SMALL = [torch.rand(4, 3, 8, 8) for _ in range(6)]


def test_two_views() -> None:
    cost = StepCost(LARGE, LARGE, evaluations=5, streams=1)
    assert (cost.forward, cost.backward) == (48, 48)
    assert cost.ratio == pytest.approx((5 * 2 + 3) / 3)
    dual = StepCost(LARGE, LARGE, evaluations=5, streams=2)
    assert (dual.forward, dual.backward) == (56, 56)
    assert dual.ratio == pytest.approx(cost.ratio + 1)


def test_multi_crop_counts_pixels() -> None:
    views = [*LARGE, *SMALL]
    cost = StepCost(views, LARGE, evaluations=2, streams=1)
    assert (cost.forward, cost.backward) == (3 * 32, 32 + 2 * 8)
    large, small = 2 * 4 * 16 * 16, 6 * 4 * 8 * 8
    clean = 3 * (large + small)
    attack = 2 * (large + small) + 2 * large
    assert cost.ratio == pytest.approx((clean + attack) / clean)


def test_an_attack_for_each_view() -> None:
    cost = StepCost(LARGE, LARGE, evaluations=5, streams=1, independent=True)
    assert (cost.forward, cost.backward) == (8 * 11, 8 * 6)
    assert cost.ratio == pytest.approx(1 + (10 + 5) / 3)


def test_tiles_are_images() -> None:
    tiles = [torch.rand(2, 9, 3, 4, 4)]
    assert StepCost(tiles, tiles, evaluations=1, streams=1).forward == 36


def test_the_sentence() -> None:
    cost = StepCost([*LARGE, *SMALL], LARGE, evaluations=2, streams=1)
    assert str(cost) == (
        "adversarial training: one step = 96 forward + 48 backward image passes, "
        "about 2.0 times clean training (2 evaluations of the loss; 2 of 8 views "
        "attacked, 2 of 16 x 16 pixels and 6 of 8 x 8 pixels)."
    )


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("policy", [None, "global"])
def test_the_ratio_is_that_of_the_floating_point_operations(
    independent: bool, mode: str, policy: Any
) -> None:
    # The first layer is small: clean training needs no gradient of the images.
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        *(nn.Conv2d(width, 16, 3, padding=1) for width in (4, 16, 16)),
    )
    batch = [*LARGE, *SMALL]
    selected = select_views(batch, policy=policy, normalize=None)

    def step(views: Any) -> Tensor:
        return torch.stack([module(view).square().mean() for view in views]).prod()

    def adversarial() -> Tensor:
        objective = StepObjective(
            step=step,
            module=module,
            isolation=Isolation(module),
            selected=selected,
            bn_mode="eval",
        )
        attack = PGD(ThreatModel(eps=0.1), steps=3)
        run = attack_per_view if independent else PGD.perturb_views
        views = run(attack, objective, selected.views, generator=torch.Generator())
        if mode == "replace":
            return step(selected.replace(views))
        output: Tensor = streams.dual(
            step, module, batch=batch, selected=selected, views=views, weight=0.5
        )
        return output

    clean = operations(lambda: step(batch))
    cost = StepCost(
        images=batch,
        attacked=selected.views,
        evaluations=3,
        streams=2 if mode == "dual" else 1,
        independent=independent,
    )
    assert operations(adversarial) / clean == pytest.approx(cost.ratio, rel=0.03)


def operations(loss: Any) -> int:
    total: int = COUNT(lambda: loss().backward())
    return total
