"""Compiled backbones and modules: the same results, and no compilation per evaluation.

Isolation puts other parameters and buffers in the place of the module's own, so a
compiled graph must take them as inputs, and must not be compiled again for each
of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from types import MethodType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch._dynamo
from pytorch_lightning.utilities.compile import to_uncompiled
from torch import Tensor, nn
from torch._dynamo.utils import counters

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.isolation.isolated import Isolation
from tests import zoo
from tests.callbacks.smooth import ATTACK, Smooth, assert_close, train

IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)

MOST_GRAPHS = 5

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not getattr(torch._dynamo.config, "inline_inbuilt_nn_modules", True),
        reason="compiled modules are refused before torch 2.5",
    ),
]


@pytest.fixture(autouse=True)
def no_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


class Compiled(Smooth):
    """`backend="aot_eager"` traces forward and backward, and needs no C compiler."""

    backend = "aot_eager"

    def __init__(self) -> None:
        super().__init__()
        backbone: Any = torch.compile(self.backbone, backend=self.backend)
        self.backbone = backbone


class InPlace(Smooth):
    """Compiled without a wrapper, which keeps the keys of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone.compile(backend="aot_eager")


@pytest.mark.parametrize(
    ("create", "mode", "bn_mode"),
    [
        (Compiled, "replace", "eval"),
        (InPlace, "replace", "train"),
        (InPlace, "dual", "eval"),
        (Compiled, "dual", "train"),
    ],
)
def test_it_trains_as_without_compilation(
    create: type[Smooth], mode: Any, bn_mode: Any
) -> None:
    arguments = {"mode": mode, "bn_mode": bn_mode}
    compiled = train(create, **arguments)
    # Verification without gradients, the attack, the step, and that of another stream:
    # far from one for each of some fifty evaluations.
    assert graphs() <= MOST_GRAPHS
    if create is Compiled:  # Older versions do not compile nn.Sequential in place.
        assert graphs() >= 2
    assert_close(train(Smooth, **arguments), compiled)


def test_at_eps_zero_training_is_the_same_bit_for_bit() -> None:
    plain = zoo.state(*zoo.fit(Compiled, []))
    attacked = zoo.state(*zoo.fit(Compiled, [AdversarialTraining(IDENTITY)]))
    changed = [each for each in plain.changes(attacked) if "dynamo" not in each]
    assert changed == []


def test_no_evaluation_sees_the_parameters_of_another() -> None:
    module: Any = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    module.compile(backend="aot_eager")
    isolation = Isolation(module)
    inputs = torch.randn(4, 2)

    def compare() -> None:
        expected = module[1](module[0](inputs))
        torch.testing.assert_close(module(inputs), expected)
        with isolation.evaluation():
            torch.testing.assert_close(module(inputs), expected)

    compare()
    with torch.no_grad():
        module[0].weight.mul_(-2)
        module[1].running_mean += 1
    compare()
    module[0].weight = nn.Parameter(torch.randn(2, 2))
    module[1].running_var = torch.full((2,), 3.0)
    compare()
    inside = torch.randn(2, 2)
    with isolation.evaluation(), torch.no_grad():
        module[0].weight.copy_(inside)
        found = module(inputs)
        torch.testing.assert_close(found, module[1](module[0](inputs)))
    compare()


def test_a_compiled_training_step_is_attacked_too() -> None:
    """Lightning unwraps `torch.compile(module)`, and compiles its steps."""
    losses: list[list[float]] = []

    class Whole(Smooth):
        def on_before_backward(self, loss: Tensor) -> None:
            losses[-1].append(float(loss))

    def fit(compiling: bool) -> Whole:
        pl.seed_everything(0, verbose=False)
        losses.append([])
        module = Whole()
        given: Any = torch.compile(module, backend="eager") if compiling else module
        callback = AdversarialTraining(ATTACK, verify="off")
        zoo.fit(lambda: given, [callback], max_steps=1)
        return module

    plain, compiled = fit(False), fit(True)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, compiled.state_dict()[name])
    # Lightning's compiled step is in its place again, and can be taken out.
    assert not isinstance(vars(compiled)["training_step"], MethodType)
    step: Any = to_uncompiled(compiled).training_step
    assert step.__func__ is Whole.training_step


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_inductor_trains_as_without_compilation() -> None:
    class Inductor(Compiled):
        backend = "inductor"

    assert_close(train(Smooth, mode="dual"), train(Inductor, mode="dual"))
