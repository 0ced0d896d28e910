from __future__ import annotations

import os
import re
import time
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.doctor import diagnose
from lightly_adv.doctor.checks.step import cost
from tests import zoo
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Named(TensorDataset):
    classes = ("cat", "dog", "cow", "bee")


def loader(**changes: Any) -> DataLoader[Any]:
    dataset = Named(*healthy.batch())
    vars(dataset).update(changes)
    return DataLoader(dataset, batch_size=8)


def test_labels_that_fit() -> None:
    text = told(examine(Healthy(), loader()), "labels")
    assert "labels from 0 to 3, a head of 4 classes, 4 classes in the data." in text


def test_labels_out_of_range_are_told_and_never_computed_with() -> None:
    diagnosis = examine(Healthy(3))
    assert blamed(diagnosis) == {"labels": "FAIL"}
    assert "the labels of the batch span [0, 3], but the logits have 3 classes" in told(
        diagnosis, "labels"
    )
    assert {"training step", "gradient", "loss"} <= set(diagnosis.skipped)


def test_labels_that_count_from_one() -> None:
    images, labels = healthy.batch()
    diagnosis = examine(Healthy(), [images, labels + 1])
    assert blamed(diagnosis) == {"labels": "FAIL"}
    assert "span [1, 4]" in told(diagnosis, "labels")


@pytest.mark.parametrize(
    ("classes", "status", "remedy"),
    [
        (("a",) * 10, "FAIL", "Give the head 10 classes: some labels"),
        (("a",) * 3, "WARN", "Give the head 3 classes, unless"),
    ],
)
def test_head_and_data_disagree(
    classes: tuple[str, ...], status: str, remedy: str
) -> None:
    diagnosis = examine(Healthy(), loader(classes=classes))
    assert blamed(diagnosis) == {"labels": status}
    assert remedy in told(diagnosis, "labels")


def test_a_cross_entropy_over_one_class() -> None:
    images, labels = healthy.batch()
    diagnosis = examine(Healthy(1), [images, torch.zeros_like(labels)])
    assert blamed(diagnosis) == {"labels": "FAIL", "gradient": "FAIL"}
    assert "its loss is always 0" in told(diagnosis, "labels")


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
    assert "RuntimeError: the head is missing (raised in forward, test_step.py:" in (
        told(diagnosis, "training step")
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
    assert "(raised in forward, test_step.py:" in text


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


class Leaking(Healthy):
    def __init__(self) -> None:
        super().__init__()
        # Where a generator stands is nobody's to change.
        self.calls = (number for number in range(1000))

    def forward(self, images: Tensor) -> Tensor:
        next(self.calls)
        return super().forward(images)


def test_state_out_of_reach_is_named() -> None:
    diagnosis = examine(Leaking())
    assert blamed(diagnosis) == {"isolation": "FAIL"}
    text = told(diagnosis, "isolation")
    assert "would change calls (position)" in text
    assert "attribute of the module" in text


class Drifting(Healthy):
    """Counts its evaluations where nobody looks."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        os.environ["DRIFT"] = str(float(os.environ["DRIFT"]) + 0.1)
        return super().training_step(batch, batch_idx) + float(os.environ["DRIFT"])


def test_a_loss_that_moves_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFT", "0")
    diagnosis = examine(Drifting())
    assert blamed(diagnosis) == {"repeatable": "WARN"}
    assert "it depends on something besides views" in told(diagnosis, "repeatable")


def test_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the seed is 0." in told(examine(Healthy()), "repeatable")
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    state = torch.get_rng_state()
    try:
        for seed, status in ((5, "PASS"), (1 << 60, "WARN")):
            torch.manual_seed(seed)
            diagnosis = diagnose(
                Healthy(), healthy.batch(), healthy.ATTACK, accelerator="cpu"
            )
            assert diagnosis.statuses["repeatable"] == status
        assert "Call pl.seed_everything(0) first" in told(diagnosis, "repeatable")
    finally:
        torch.set_rng_state(state)


ONE = [cost]


UNITS = {"ms": 1000, "s": 1}


class Slow(Healthy):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        time.sleep(0.05)
        return super().training_step(batch, batch_idx)


def test_passes_are_counted_and_time_is_measured() -> None:
    text = told(examine(Slow(), checks=ONE), "cost")
    # 8 images; 3 evaluations and the step itself.
    assert text.startswith("one step = 32 forward + 32 backward image passes")
    found = re.findall(r"([\d.]+) (ms|s) with", text)
    clean, attacked = (float(each) / UNITS[unit] for each, unit in found)
    # Each of the four sleeps.
    assert clean >= 0.05
    assert attacked >= 0.2


def test_epochs_are_estimated() -> None:
    text = told(examine(zoo.Base(), zoo.batches(steps=3), checks=ONE), "cost")
    assert text.endswith("for an epoch of 3 steps. -> ")
