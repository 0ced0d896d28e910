from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.attacks import AttackLike
from lightly_adv.errors import NotFiniteError
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.training.attacked_step import AttackedStep, Mode, RandomNumbers
from lightly_adv.training.step_objective import StepObjective
from lightly_adv.training.view_policy import ViewPolicy

ATTACK = PGD(ThreatModel(eps=0.1), steps=2, step_size=0.2)
IMAGES = torch.full((2, 3, 4, 4), 0.5)


@dataclass
class Options:
    attack: AttackLike = ATTACK
    mode: Mode = "replace"
    weight: float = 0.5
    views: ViewPolicy = None
    independent: bool = False
    bn_mode: BatchNormMode = "batch"
    rng: RandomNumbers = "same"


class Mean(nn.Module):
    """A loss that rises with every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0
        self.batches: list[Tensor] = []

    def training_step(self, images: Tensor) -> Any:
        self.batches.append(images)
        return self.factor * images.mean()


def run(attacked: AttackedStep, module: Mean, **options: Any) -> Any:
    return attacked(
        module.training_step,
        IMAGES,
        attack=ATTACK,
        module=module,
        isolation=Isolation(module),
        generator=lambda views: Generator().manual_seed(0),
        batch_idx=0,
        **options,
    )


def test_replace_trains_on_perturbed_views_and_dual_on_both() -> None:
    module = Mean()
    assert run(AttackedStep(Options()), module).item() == pytest.approx(0.6)
    assert [float(batch.mean()) for batch in module.batches] == pytest.approx([0.6])
    options = Options(mode="dual")
    attacked = AttackedStep(options)
    assert run(attacked, module).item() == pytest.approx(0.55)
    # The options are those of now, as a user may let them grow.
    options.weight = 1.0
    assert run(attacked, module).item() == pytest.approx(0.6)
    assert len(module.batches) == 3


def test_a_look_draws_no_noise_of_the_attack() -> None:
    found = []

    def look(objective: StepObjective, generator: Generator) -> StepObjective:
        torch.rand(7, generator=generator)
        return objective

    for options in ({}, {"look": look}):
        module = Mean()
        attacked = AttackedStep(Options(attack=replace(ATTACK, steps=1)))
        run(attacked, module, **options)
        found.append(module.batches[0])
    assert torch.equal(*found)


@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_what_cannot_be_attacked_is_trained_on_as_it_is(mode: Mode) -> None:
    module = Mean()
    attacked = AttackedStep(Options(mode=mode))
    run(attacked, module)
    module.factor = float("nan")
    with pytest.warns(UserWarning, match="batch 0 is trained on without an attack"):
        assert run(attacked, module).isnan()
    assert module.batches[-1] is IMAGES
    assert attacked.clean.count == 1
    fresh = AttackedStep(Options(mode=mode))
    with pytest.warns(UserWarning, match="batch 0"):
        run(fresh, module), run(fresh, module)
    with pytest.raises(NotFiniteError):
        run(fresh, module)


def test_a_step_that_skips_is_skipped() -> None:
    module = Mean()
    module.training_step = lambda images: None  # type: ignore[method-assign]
    assert run(AttackedStep(Options()), module) is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mode", "both", "both"),
        ("weight", 2.0, "weight=2.0 must lie in"),
        ("rng", "new", "new"),
        ("bn_mode", "off", "off"),
        ("views", [], "views"),
    ],
)
def test_options_are_checked(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttackedStep(Options(**{name: value}))
