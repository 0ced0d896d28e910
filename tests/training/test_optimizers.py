from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from lightly_adv.training.optimizers import OneCycleSGD, one_cycle


def layer() -> nn.Linear:
    return nn.Linear(2, 1)


@pytest.mark.parametrize("warmup", [0.1, 0.2, 0.5])
def test_the_rate_is_that_of_torch(warmup: float) -> None:
    steps, lr = 50, 0.3
    chosen = OneCycleSGD(lr=lr, warmup=warmup)
    found = chosen.configure(layer().parameters(), total_steps=steps)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        torch.optim.SGD(layer().parameters(), lr=lr, momentum=0.9),
        max_lr=lr,
        # torch counts to the last step, we to the end of training.
        total_steps=steps + 1,
        pct_start=(warmup * steps + 1) / (steps + 1),
        cycle_momentum=False,
        div_factor=25,
        final_div_factor=1e4,
    )
    for _ in range(steps):
        expected = reference.get_last_lr()[0]
        assert found["optimizer"].param_groups[0]["lr"] == pytest.approx(expected)
        for scheduler in (reference, found["lr_scheduler"]["scheduler"]):
            scheduler.optimizer.step()
            scheduler.step()


def test_training_may_go_on_behind_the_end() -> None:
    assert one_cycle(1.5, warmup=0.2) == one_cycle(1.0, warmup=0.2) < 1e-5
    assert one_cycle(1.5, warmup=1.0) == 1.0


def test_what_requires_no_gradient_is_left_out() -> None:
    module = layer()
    module.weight.requires_grad_(False)
    found = OneCycleSGD(weight_decay=0.1).configure(module.parameters(), total_steps=9)
    (group,) = found["optimizer"].param_groups
    assert [id(each) for each in group["params"]] == [id(module.bias)]
    assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (
        0.1,
        0.9,
        True,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, r"lr=-1.0 must be finite"),
        ({"lr": math.nan}, r"lr=nan must be finite"),
        ({"weight_decay": -0.1}, r"weight_decay=-0.1"),
        ({"warmup": 2.0}, r"warmup=2.0 is not a share"),
    ],
)
def test_bad_numbers_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OneCycleSGD(**options)


def test_endless_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"total_steps=inf.*max_epochs"):
        OneCycleSGD().configure(layer().parameters(), total_steps=math.inf)


def test_nothing_to_train_is_refused() -> None:
    frozen = layer().requires_grad_(False)
    with pytest.raises(ValueError, match="nothing can be trained"):
        OneCycleSGD().configure(frozen.parameters(), total_steps=1)
