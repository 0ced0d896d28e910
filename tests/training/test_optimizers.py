from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from torch import nn

from lightly_adv.training.learning_rates import one_cycle
from lightly_adv.training.optimizers import (
    OneCycleSGD,
    OptimizerFactory,
    WarmupCosineAdamW,
    WarmupCosineLARS,
)


def layer() -> nn.Linear:
    return nn.Linear(2, 1)


@pytest.mark.parametrize("warmup", [0.1, 0.2, 0.5])
def test_the_rate_is_that_of_torch(warmup: float) -> None:
    steps, lr = 50, 0.3
    chosen = OneCycleSGD(lr=lr, warmup=warmup)
    found = chosen.configure(layer(), total_steps=steps)
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
    found = OneCycleSGD(weight_decay=0.1).configure(module, total_steps=9)
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
    with pytest.raises(ValueError, match=r"total_steps=inf.*max_steps"):
        OneCycleSGD().configure(layer(), total_steps=math.inf)


def test_nothing_to_train_is_refused() -> None:
    frozen = layer().requires_grad_(False)
    with pytest.raises(ValueError, match="nothing can be trained"):
        OneCycleSGD().configure(frozen, total_steps=1)


def warmup_cosine(step: int, *, total: int, rising: int) -> float:
    if step < rising:
        return (step + 1) / rising
    share = (step - rising) / (total - rising - 1)
    return 0.001 + 0.999 * (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize(
    "factory", [WarmupCosineLARS(lr=2.0), WarmupCosineAdamW(lr=2.0)]
)
def test_the_rate_rises_on_a_line_and_falls_on_a_cosine(
    factory: OptimizerFactory,
) -> None:
    configured = factory.configure(layer(), total_steps=20)
    optimizer = configured["optimizer"]
    for step in range(20):
        expected = 2.0 * warmup_cosine(step, total=20, rising=2)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(expected, rel=1e-6)
        optimizer.step()
        configured["lr_scheduler"]["scheduler"].step()


def test_lars_decays_neither_biases_nor_norms() -> None:
    module = nn.Sequential(layer(), nn.BatchNorm1d(1))
    factory = WarmupCosineLARS(weight_decay=0.1)
    optimizer = factory.configure(module, total_steps=9)["optimizer"]
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [each.shape for each in decayed["params"]] == [(1, 2)]
    assert len(others["params"]) == 3


class WithBackbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("test_vit", num_classes=0)
        self.head = nn.Linear(64, 2)


def test_earlier_layers_of_a_transformer_have_smaller_rates() -> None:
    module = WithBackbone()
    factory = WarmupCosineAdamW(lr=1.0, warmup=0.0, layer_decay=0.5, weight_decay=0.1)
    optimizer = factory.configure(module, total_steps=9)["optimizer"]
    rate = {
        id(each): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for each in group["params"]
    }
    assert len(rate) == sum(1 for _ in module.parameters())
    assert rate[id(module.head.weight)] == (1.0, 0.1)
    assert rate[id(module.head.bias)] == (1.0, 0.0)
    blocks: Any = module.backbone.blocks
    first, last = (rate[id(each.mlp.fc1.weight)][0] for each in (blocks[0], blocks[-1]))
    assert first == last * 0.5 ** (len(blocks) - 1)
    assert rate[id(module.backbone.cls_token)][1] == 0.0


@pytest.mark.parametrize("total_steps", [math.inf, -1, 0])
def test_a_length_that_is_not_known_is_refused(total_steps: float) -> None:
    for factory in (OneCycleSGD(), WarmupCosineLARS(), WarmupCosineAdamW()):
        with pytest.raises(ValueError, match="max_steps"):
            factory.configure(layer(), total_steps=total_steps)


@pytest.mark.parametrize("layer_decay", [0.0, 1.5])
def test_layer_decay_out_of_range(layer_decay: float) -> None:
    with pytest.raises(ValueError, match=f"layer_decay={layer_decay}"):
        WarmupCosineAdamW(layer_decay=layer_decay)
