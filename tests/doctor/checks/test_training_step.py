from __future__ import annotations

from typing import Any

from torch import Tensor

from tests import zoo
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Raising(Healthy):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("the head is missing")


class Undefined(Healthy):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * float("nan")


class Frozen(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


class Skipping(Healthy):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None


class Lossless(Healthy):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"accuracy": 1.0}


def test_an_exception_is_named_with_its_place_and_told_once() -> None:
    diagnosis = examine(Raising())
    assert blamed(diagnosis) == {"training step": "FAIL"}
    assert (
        "RuntimeError: the head is missing (raised in forward, test_training_step.py:"
        in (told(diagnosis, "training step"))
    )
    assert {"gradient", "loss", "repeatable", "cost"} <= set(diagnosis.skipped)
    (text,) = diagnosis.tracebacks
    assert text.startswith("Traceback")
    assert 'raise RuntimeError("the head is missing")' in text


def test_exceptions_of_torch_are_placed_in_the_code_that_called_it() -> None:
    class Misfit(Healthy):
        def forward(self, images: Tensor) -> Tensor:
            return self.fc(images)  # type: ignore[no-any-return]

    text = told(examine(Misfit()), "training step")
    assert text.startswith("RuntimeError: mat1 and mat2")
    assert "(raised in forward, test_training_step.py:" in text


def test_losses_that_nothing_can_be_learned_from() -> None:
    diagnosis = examine(Undefined())
    assert blamed(diagnosis) == {"training step": "FAIL"}
    assert "the loss is nan" in told(diagnosis, "training step")
    diagnosis = examine(Frozen())
    assert "the loss depends on no parameter that is trained" in told(
        diagnosis, "training step"
    )
    for module, message in ((Skipping(), "returned None"), (Lossless(), "'loss'")):
        diagnosis = examine(module)
        assert blamed(diagnosis) == {"training step": "FAIL"}
        assert message in told(diagnosis, "training step")


def test_what_a_step_changes_is_listed() -> None:
    data = zoo.batches(steps=1)
    text = told(examine(zoo.Momentum(), data, healthy.ATTACK), "training step")
    assert "18 statistics of BatchNorm" in text
    assert "parameters (momentum_backbone, momentum_head)" in text
    assert "criterion.memory_bank.bank" in text
    assert "the random state of torch" in text
    text = told(examine(zoo.PlainTensor(), data, healthy.ATTACK), "training step")
    assert "criterion.C" in text
    assert "it changes nothing by itself" in told(examine(Healthy()), "training step")
