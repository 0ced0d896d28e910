"""Errors inside the attack: everything is as it was before the step that failed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.isolation import leaks
from tests import zoo

ATTACK = PGD(ThreatModel(eps=0.05), steps=2)
AT = 2
"""The evaluation that fails, counted from the first one of the second batch."""

pytestmark = pytest.mark.filterwarnings("ignore")


class Failing(zoo.Momentum, zoo.Metrics):
    """Fails in one of its evaluations, after it has changed whatever it can."""

    where = "forward"
    error: BaseException = RuntimeError("it failed")

    def __init__(self) -> None:
        super().__init__()
        self.calls_of_batch = [0]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        # The list stands outside of the isolation, which would reset a number.
        if batch_idx == 1:
            evaluations.append(batch_idx)
        zoo.Metrics.training_step(self, batch, batch_idx)
        output = super().training_step(batch, batch_idx)
        torch.rand(1), random.random(), np.random.rand()
        if len(evaluations) != AT:
            return output
        with torch.no_grad():
            next(self.parameters()).add_(1)
        self.eval()
        if self.where == "forward":
            raise self.error
        output["loss"].register_hook(self.fail)
        return output

    def fail(self, gradient: Tensor) -> None:
        raise self.error


class FailingBackward(Failing):
    where = "backward"


class Interrupted(Failing):
    error = KeyboardInterrupt()


evaluations: list[int] = []


class Before(pl.Callback):
    """Takes the state of the module before the step that fails."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.parameters = dict(pl_module.named_parameters())
        self.requires = {k: v.requires_grad for k, v in self.parameters.items()}
        self.training = [part.training for part in pl_module.modules()]
        self.snapshot = leaks.snapshot(pl_module)


@pytest.fixture(autouse=True)
def no_evaluations() -> None:
    evaluations.clear()


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("create", [Failing, FailingBackward, Interrupted])
def test_after_an_error_in_an_evaluation_the_module_is_whole(
    create: type[Failing], mode: Any
) -> None:
    callback = AdversarialTraining(ATTACK, mode=mode, verify="off")
    assert_whole(create, callback, create.error)


def test_after_an_error_in_the_second_stream_the_module_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two evaluations in the attack, and the third is the adversarial stream.
    monkeypatch.setitem(globals(), "AT", 3)
    callback = AdversarialTraining(ATTACK, mode="dual", verify="off")
    assert_whole(Failing, callback, Failing.error)


def test_after_an_error_in_verification_the_module_is_whole() -> None:
    callback = AdversarialTraining(ATTACK)

    class First(Failing):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx + 1)

    assert_whole(First, callback, Failing.error)


class Broken(PGD):
    """Fails between two evaluations."""

    def update(self, *args: Any) -> Tensor:
        if evaluations:
            raise Failing.error
        return super().update(*args)


def test_after_an_error_in_the_attack_itself_the_module_is_whole() -> None:
    callback = AdversarialTraining(Broken(ThreatModel(eps=0.05), steps=2))
    assert_whole(Failing, callback, Failing.error)


def assert_whole(
    create: type[Failing], callback: AdversarialTraining, error: BaseException
) -> None:
    before = Before()
    module = create()
    # Lightning makes an exit of an interruption.
    with pytest.raises((type(error), SystemExit)):
        zoo.fit(lambda: module, [callback, before])
    assert evaluations
    for name, parameter in module.named_parameters():
        assert parameter is before.parameters[name], name
        assert parameter.requires_grad == before.requires[name], name
        assert parameter.grad is None or not parameter.grad.isnan().any()
    assert [part.training for part in module.modules()] == before.training
    # The name of the hook that runs is Lightning's own; the wrapped step is taken off
    # again, and the list of evaluations is a global of this test.
    changes = before.snapshot.changes(leaks.snapshot(module))
    expected = ("_current_fx_name", "training_step.", "the global evaluations")
    assert [each for each in changes if not each.startswith(expected)] == []
    assert "training_step" not in vars(module)
    assert "log" not in vars(module)
    # And it trains again, from where it is.
    evaluations[:] = [0] * 9
    zoo.fit(lambda: module, [AdversarialTraining(ATTACK)], max_steps=1)
