from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv import PGD, AdversarialLoss, AdversarialTraining, ThreatModel
from lightly_adv.doctor import (
    CHECKS,
    START,
    Probe,
    RandomImages,
    diagnose,
)
from lightly_adv.evaluation.checks.check import Check, name_of
from lightly_adv.isolation import leaks
from lightly_adv.methods import PretextModule, RobustClassifier
from lightly_adv.types import NormalizeStats
from tests import zoo
from tests.callbacks.test_preflight import Manual, Pulling
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told
from tests.methods_zoo import METHODS
from tests.methods_zoo.method import NORMALIZE, Method, loader

SOME = ("DINO", "MAE", "MoCo", "SimSiam", "TiCo", "VICRegL")
"""Methods with crops, masks, a bank, stopped gradients, plain attributes and grids."""


def test_nothing_is_wrong_with_a_healthy_module() -> None:
    diagnosis = examine(Healthy())
    assert diagnosis.ok
    assert blamed(diagnosis) == {}
    assert not diagnosis.skipped
    names = {name_of(check) for check in CHECKS}
    assert set(diagnosis.statuses) == names - {"backbone", "device"}


@pytest.mark.parametrize("create", zoo.ZOO, ids=lambda create: create.__name__)
@pytest.mark.filterwarnings("ignore")
def test_everything_is_left_as_it_was(create: Callable[[], pl.LightningModule]) -> None:
    pl.seed_everything(0, verbose=False)
    module = create()
    zoo._start_banks(module)
    gradient = torch.ones_like(next(module.parameters()))
    next(module.parameters()).grad = gradient
    objects, modes = dict(vars(module)), [each.training for each in module.modules()]
    required = [each.requires_grad for each in module.parameters()]
    before = leaks.snapshot(module)
    diagnosis = diagnose(module, zoo.batches(), healthy.ATTACK, accelerator="cpu")
    assert not before.changes(leaks.snapshot(module))
    assert vars(module).keys() == objects.keys()
    assert all(vars(module)[name] is each for name, each in objects.items())
    assert [each.training for each in module.modules()] == modes
    assert [each.requires_grad for each in module.parameters()] == required
    assert next(module.parameters()).grad is gradient
    assert torch.equal(gradient, torch.ones_like(gradient))
    assert diagnosis.ok, diagnosis


@pytest.mark.parametrize(
    "method",
    [each for each in METHODS if each.name in SOME],
    ids=lambda method: method.name,
)
def test_methods_pass_but_for_their_batch_norm(method: Method) -> None:
    pl.seed_everything(0, verbose=False)
    module = method.create()
    before = leaks.snapshot(module)
    attack = PGD(ThreatModel(normalize=NORMALIZE), steps=2)
    diagnosis = examine(module, loader(method, steps=1), attack)
    assert not before.changes(leaks.snapshot(module))
    # Fresh networks with BatchNorm, on batches of 4.
    assert set(blamed(diagnosis)) <= {"batch norm", "loss"}, diagnosis
    assert diagnosis.ok, diagnosis
    reached = ", ".join(map(str, method.reached[0]))
    assert told(diagnosis, "gradient").startswith(
        (f"it reaches view {reached};", f"it reaches views {reached};")
    )


def test_random_streams_and_loaders_go_on_as_without_it() -> None:
    dataset = TensorDataset(*healthy.batch())
    data = DataLoader(
        dataset, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3)
    )
    module = Healthy()
    before, state = leaks.snapshot(module), data.generator.get_state()
    diagnose(module, data, healthy.ATTACK, accelerator="cpu")
    assert not before.changes(leaks.snapshot(module))
    assert torch.equal(data.generator.get_state(), state)


def test_a_batch_that_the_step_writes_into_stays() -> None:
    class Writing(Healthy):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            batch[1].zero_()
            return loss

    data = healthy.batch()
    examine(Writing(), data)
    assert torch.equal(data[1], healthy.batch()[1])


def test_hooks_of_training_run_and_no_step_is_taken() -> None:
    calls: list[str] = []

    class Hooked(Healthy):
        def on_train_start(self) -> None:
            calls.append("start")

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            calls.append("batch")
            return [batch[0] / 255, batch[1]]

        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            super().optimizer_step(*args, **kwargs)
            calls.append("stepped")

        def on_train_batch_end(self, *args: Any) -> None:
            calls.append("end")

    images, labels = healthy.batch()
    assert blamed(examine(Hooked(), [images * 255, labels])) == {}
    assert calls == ["start", "batch"]


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Manual(), {}, "Manual uses manual optimisation"),
        (Pulling(), {}, "takes a dataloader_iter"),
        (Healthy(), {"strategy": "fsdp"}, "the strategy fsdp shards parameters"),
        (nn.Linear(1, 1), {}, "expected a LightningModule of"),
        (object(), {}, "the module is a builtins.object"),
        (Healthy(), {"accelerator": "abacus"}, "accelerator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_keeps_training_from_starting_is_told(
    module: Any, options: dict[str, Any], message: str
) -> None:
    data = healthy.batch()
    given = {"accelerator": "cpu", **options}
    diagnosis = diagnose(module, data, healthy.ATTACK, **given)
    first = diagnosis.checks[0]
    assert (first.name, first.status) == ("start", "FAIL")
    assert message in first.message
    # What does not need the training step is examined all the same.
    assert diagnosis.statuses["images"] == diagnosis.statuses["eps"] == "PASS"
    assert {"training step", "gradient", "loss"} <= set(diagnosis.skipped)


def test_a_scripted_part_cannot_be_set_aside() -> None:
    module = Healthy()
    trace: Any = torch.jit.trace
    module.fc = trace(module.fc, torch.rand(1, 8))
    diagnosis = examine(module)
    assert blamed(diagnosis) == {"start": "FAIL"}
    assert "scripted module" in told(diagnosis, "start")


def test_errors_before_the_first_step_are_told_with_their_place() -> None:
    class Unready(Healthy):
        def configure_optimizers(self) -> Any:
            raise RuntimeError("no optimiser today")

    class Broken(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            raise OSError("this image is broken")

    diagnosis = examine(Unready())
    assert blamed(diagnosis) == {"start": "FAIL"}
    text = told(diagnosis, "start")
    assert "RuntimeError: no optimiser today (raised in configure_optimizers," in text
    diagnosis = examine(Healthy(), DataLoader(Broken(*healthy.batch())))
    assert "OSError: this image is broken" in told(diagnosis, "start")
    assert {"data", "images"} <= set(diagnosis.skipped)
    diagnosis = examine(Healthy(), DataLoader([], batch_size=None))  # type: ignore[arg-type]
    assert "there is no batch" in told(diagnosis, "start")


def test_without_data_the_module_is_asked_then_images_are_made_up() -> None:
    class Loading(Healthy):
        def train_dataloader(self) -> Any:
            return DataLoader([healthy.batch()], batch_size=None)  # type: ignore[arg-type]

    diagnosis = diagnose(Loading(), None, healthy.ATTACK, accelerator="cpu")
    assert diagnosis.statuses["data"] == "PASS"
    diagnosis = diagnose(zoo.Base(), None, healthy.ATTACK, accelerator="cpu")
    assert diagnosis.statuses["data"] == "WARN"
    assert "the images are random: views 0, 1 of 8 x 3 x 64 x 64" in told(
        diagnosis, "data"
    )
    assert diagnosis.statuses["images"] == "PASS"


def test_without_an_attack_the_normalisation_is_found_out() -> None:
    diagnosis = examine(Healthy(), healthy.batch(healthy.CIFAR10), None)
    assert blamed(diagnosis) == {}
    assert (
        "CIFAR-10's. Say so to the attack: ThreatModel(normalize={'mean': [0.4914,"
        in (told(diagnosis, "images"))
    )


def test_the_callback_brings_its_options() -> None:
    callback = AdversarialTraining(
        healthy.ATTACK, mode="dual", views=[1], bn_mode="batch"
    )
    data = zoo.batches(steps=2)
    diagnosis = examine(zoo.Base(), data, callback)
    assert "attacked: 1." in told(diagnosis, "data")
    assert "it reaches view 1;" in told(diagnosis, "gradient")
    assert "bn_mode='batch'" in told(diagnosis, "batch norm")
    # 2 streams and 3 evaluations of 2 x 6 images.
    assert "60 forward" in told(diagnosis, "cost")
    independent = AdversarialTraining(healthy.ATTACK, independent=True)
    assert "84 forward" in told(examine(zoo.Base(), data, independent), "cost")


class Swapped(Healthy):
    """Has the attack in its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = AdversarialLoss(_FirstLogit(), healthy.ATTACK)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.criterion(self.forward, [batch[0]])


class _FirstLogit(nn.Module):
    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, 0].square().sum()


@pytest.mark.parametrize(
    "create",
    [
        lambda: PretextModule(backbone="resnet8_tiny", attack=healthy.ATTACK),
        lambda: PretextModule(backbone="resnet8_tiny", attack=healthy.ATTACK, weight=1),
        lambda: RobustClassifier(
            "resnet8_tiny", num_classes=4, attack=healthy.ATTACK, trainable="head"
        ),
        Swapped,
    ],
    ids=["dual", "replace", "classifier", "loss"],
)
def test_modules_that_attack_by_themselves(
    create: Callable[[], pl.LightningModule],
) -> None:
    pl.seed_everything(0, verbose=False)
    module = create()
    before = leaks.snapshot(module)
    diagnosis = examine(module, None, None)
    assert not before.changes(leaks.snapshot(module))
    assert diagnosis.ok, diagnosis
    assert set(blamed(diagnosis)) <= {"batch norm"}
    assert "PGD, Linf 8/255, 3 steps" in diagnosis.subject
    assert diagnosis.statuses["gradient"] == diagnosis.statuses["loss"] == "PASS"


def test_a_module_that_configures_the_callback_itself() -> None:
    class Configuring(Healthy):
        def configure_callbacks(self) -> Any:
            return [AdversarialTraining(healthy.ATTACK, mode="dual")]

    pl.seed_everything(0, verbose=False)
    diagnosis = examine(Configuring(), None, None)
    assert diagnosis.ok, diagnosis
    assert "3 steps" in diagnosis.subject
    # Three evaluations and the two streams, for 8 images.
    assert "one step = 40 forward + 40 backward" in told(diagnosis, "cost")


@pytest.mark.parametrize("normalize", [None, healthy.CIFAR10])
def test_random_images_are_those_that_a_configured_callback_expects(
    normalize: NormalizeStats | None,
) -> None:
    class Configuring(Healthy):
        def __init__(self) -> None:
            super().__init__(classes=10)

        def configure_callbacks(self) -> Any:
            return [AdversarialTraining(healthy.attack(normalize))]

    data = RandomImages(16, views=0)
    diagnosis = examine(Configuring(), data, None)
    assert diagnosis.statuses["images"] == "PASS", diagnosis
    assert blamed(diagnosis) == {"data": "WARN"}


def test_an_attack_of_its_own_under_the_callback_fails() -> None:
    callback = AdversarialTraining(healthy.ATTACK)
    module = PretextModule(backbone="resnet8_tiny", attack=healthy.ATTACK)
    diagnosis = examine(module, None, callback)
    assert diagnosis.statuses[START] == "FAIL"
    assert "has an attack of its own" in told(diagnosis, START)


def test_a_check_of_ones_own() -> None:
    def mine(probe: Probe) -> Check:
        return Check("mine", "WARN", f"the loss is {probe.run.loss:.3f}.")

    diagnosis = examine(Healthy(), checks=[*CHECKS, mine])
    assert blamed(diagnosis) == {"mine": "WARN"}
    assert diagnosis.ok


def test_a_broken_check_fails_itself_only() -> None:
    def mine(probe: Probe) -> Check:
        raise KeyError("oops")

    diagnosis = examine(Healthy(), checks=[mine, *CHECKS])
    assert blamed(diagnosis) == {"mine": "FAIL"}
    assert "KeyError: 'oops' (raised in mine, test_diagnose.py" in told(
        diagnosis, "mine"
    )


def test_what_is_no_attack_is_refused() -> None:
    with pytest.raises(TypeError, match=r"attack is a float; expected an attack"):
        diagnose(Healthy(), healthy.batch(), 8 / 255)  # type: ignore[arg-type]


def test_random_images_take_the_normalisation_of_the_attack() -> None:
    data = RandomImages(16, views=0, num_classes=4)
    assert blamed(examine(Healthy(), data)) == {"data": "WARN"}
