from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightly_adv.isolation.isolated import Isolation
from lightly_adv.training import streams
from lightly_adv.training.step_objective import (
    StepObjective,
    StepSkippedError,
    loss_of,
    with_loss,
)
from lightly_adv.training.views import select_views


def objective(step: Any, module: nn.Module, **arguments: Any) -> StepObjective:
    batch = [torch.rand(4, 3, 4, 4), torch.arange(4)]
    return StepObjective(
        step=step,
        module=module,
        isolation=Isolation(module),
        selected=select_views(batch, policy=None, normalize=None),
        **{"bn_mode": "eval", **arguments},
    )


def test_it_is_the_loss_of_the_step_at_other_views() -> None:
    module = nn.Flatten()
    each = objective(lambda b: (module(b[0]).sum(1) * b[1]).sum(), module)
    views = [torch.rand(4, 3, 4, 4)]
    assert each(views) == (views[0].flatten(1).sum(1) * torch.arange(4)).sum()


@pytest.mark.parametrize(
    ("bn_mode", "flags"),
    [
        ("eval", [True, False, False, False]),
        ("batch", [True, False, True, False]),
        ("train", [True, True, True, False]),
    ],
)
def test_modes_hold_inside_only(bn_mode: Any, flags: list[bool]) -> None:
    module = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3), nn.BatchNorm2d(3).eval())
    seen: list[bool] = []

    def step(batch: Any) -> Any:
        seen.extend(part.training for part in module.modules())
        return module(batch[0]).sum()

    objective(step, module, bn_mode=bn_mode)([torch.rand(4, 3, 4, 4)])
    assert seen == flags
    assert [part.training for part in module.modules()] == [True, True, True, False]


def test_draws_repeat_or_change_as_asked() -> None:
    module = nn.Identity()
    seeds = iter([1, 2])
    views = [torch.rand(4, 3, 4, 4)]

    def step(batch: Any) -> Any:
        return (batch[0] * torch.rand(())).sum()

    same = objective(step, module)
    assert same(views) == same(views)
    changing = objective(step, module, seeds=lambda: next(seeds))
    assert changing(views) != changing(views)


def test_a_loss_is_found_and_exchanged() -> None:
    loss = torch.ones(())
    assert loss_of(loss) is loss
    assert loss_of({"loss": loss}) is loss
    assert with_loss({"loss": loss, "other": 1}, loss * 2) == {"loss": 2, "other": 1}
    assert with_loss(loss, loss * 2) == 2


def test_no_loss_is_told_from_a_wrong_one() -> None:
    with pytest.raises(StepSkippedError):
        loss_of(None)
    with pytest.raises(TypeError, match=r"returned a dict without a loss"):
        loss_of({"losses": torch.ones(())})
    with pytest.raises(TypeError, match=r"returned a float without a loss"):
        loss_of(1.0)


def test_dual_is_the_weighted_sum_with_the_output_of_the_clean_step() -> None:
    module = nn.BatchNorm2d(3)
    batch = [torch.rand(4, 3, 4, 4)]
    other = [torch.rand(4, 3, 4, 4)]
    selected = select_views(batch, policy=None, normalize=None)

    def step(given: Any) -> Any:
        return {"loss": module(given[0]).square().mean(), "mean": given[0].mean()}

    output = streams.dual(
        step, module, batch=batch, selected=selected, views=other, weight=0.25
    )
    assert module.num_batches_tracked == 1
    assert output["mean"] == batch[0].mean()
    first, second = step(batch)["loss"], step(other)["loss"]
    assert torch.allclose(output["loss"], 0.75 * first + 0.25 * second)
    output = streams.replaced(step, module, selected=selected, views=other)
    assert output["mean"] == other[0].mean()
