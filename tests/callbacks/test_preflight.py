from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from timm import layers
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialLoss, AdversarialTraining, ThreatModel
from lightly_adv.attacks import AttackSchedule
from lightly_adv.callbacks.preflight import check_attacked_once, check_trainable
from lightly_adv.methods import PretextModule, RobustClassifier
from tests import zoo

pytestmark = pytest.mark.filterwarnings("ignore")

ATTACK = PGD(ThreatModel(eps=0.05), steps=1)

timm_layers: Any = layers
convert_as_torch: Any = nn.SyncBatchNorm.convert_sync_batchnorm


class Manual(zoo.Base):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class Pulling(zoo.Base):
    def training_step(self, dataloader_iter: Any) -> Any:  # type: ignore[override]
        return super().training_step(next(dataloader_iter), 0)


def refuse(module: Any, message: str, error: type[Exception] = ValueError) -> None:
    callback = AdversarialTraining(PGD(ThreatModel(eps=0.0), steps=1))
    with pytest.raises(error, match=message):
        zoo.fit(lambda: module, [callback])
    assert "training_step" not in vars(module)


def test_manual_optimisation_is_refused() -> None:
    refuse(Manual(), r"Manual uses manual optimisation.*AdversarialLoss.*isolated")


def test_scripted_parts_are_refused() -> None:
    def convert(convert: Any) -> zoo.Base:
        module = zoo.Base()
        module.backbone[0] = convert(nn.Conv2d(3, 8, 3, stride=2))
        return module

    refuse(convert(torch.jit.script), r"'backbone\.0' is a .*Python module")
    example = torch.rand(2, 3, 8, 8)
    trace: Any = torch.jit.trace
    traced = convert(lambda layer: trace(layer, example))
    refuse(traced, r"'backbone\.0' is a .*Python module")


def test_a_step_that_pulls_its_batches_is_refused() -> None:
    refuse(Pulling(), r"takes a dataloader_iter")


class Lazy(zoo.Base):
    def __init__(self) -> None:
        super().__init__()
        self.backbone[0] = nn.LazyConv2d(8, 3, stride=2)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.head.parameters(), lr=0.1)


def test_lazy_layers_are_refused_before_the_first_step() -> None:
    refuse(Lazy(), r"'backbone\.0\.weight' has no shape yet.*forward pass")
    module = Lazy()
    module(torch.rand(4, 3, 8, 8))
    zoo.fit(lambda: module, [AdversarialTraining(ATTACK)])


def test_the_other_namespace_is_refused() -> None:
    class Trainer:
        pass

    Trainer.__module__ = "lightning.pytorch.trainer.trainer"
    with pytest.raises(TypeError, match=r"lightning.pytorch.trainer.trainer.*Trainer"):
        check_trainable(Trainer(), zoo.Base())
    with pytest.raises(TypeError, match=r"the module is a .*SimpleNamespace"):
        check_trainable(
            pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu"),
            SimpleNamespace(),
        )


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("FSDPStrategy", None),
        ("ModelParallelStrategy", None),
        ("DeepSpeedStrategy", {"zero_optimization": {"stage": 3}}),
    ],
)
def test_sharded_parameters_are_refused(
    name: str, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    strategy = type(name, (), {"config": config})()
    monkeypatch.setattr(pl.Trainer, "strategy", strategy)
    with pytest.raises(ValueError, match=rf"the strategy {name} shards parameters"):
        check_trainable(trainer, zoo.Base())


def test_deepspeed_below_stage_3_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    config = {"zero_optimization": {"stage": 2}}
    strategy = type("DeepSpeedStrategy", (), {"config": config})()
    monkeypatch.setattr(pl.Trainer, "strategy", strategy)
    assert check_trainable(trainer, zoo.Base()) is None  # type: ignore[func-returns-value]


class Acting(zoo.Base):
    """A BatchNorm layer of timm, with its activation inside."""

    def __init__(self, *, synchronised: bool = False, apply_act: bool = True) -> None:
        super().__init__()
        self.backbone[1] = timm_layers.BatchNormAct2d(8, apply_act=apply_act)
        if synchronised:
            timm_layers.convert_sync_batchnorm(self.backbone)


class Swapped(zoo.Base):
    """Attacks in its own training step."""

    def __init__(self) -> None:
        super().__init__()
        self.swapped = AdversarialLoss(self.criterion, ATTACK)


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (Swapped, r"swapped \(AdversarialLoss\) has an attack of its own"),
        (
            lambda: PretextModule(backbone="resnet8_tiny", attack=ATTACK),
            r"the module \(PretextModule\).*Leave out one of the two: the callback",
        ),
        (
            lambda: RobustClassifier("resnet8_tiny", attack=AttackSchedule(ATTACK)),
            r"the module \(RobustClassifier\) has an attack of its own",
        ),
    ],
)
def test_two_attacks_are_refused(create: Any, message: str) -> None:
    refuse(create(), message)


def test_two_callbacks_are_refused() -> None:
    modules: list[pl.LightningModule] = []

    def create() -> pl.LightningModule:
        modules.append(zoo.Base())
        return modules[0]

    callbacks: list[pl.Callback] = [AdversarialTraining(ATTACK) for _ in range(2)]
    message = r"the Trainer has 2 AdversarialTraining callbacks.*expected one"
    with pytest.raises(ValueError, match=message):
        zoo.fit(create, callbacks)
    assert "training_step" not in vars(modules[0])


class Keeping(zoo.Base):
    """Holds an attack for a purpose that is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.attack = ATTACK


@pytest.mark.parametrize(
    "create",
    [
        Keeping,
        lambda: PretextModule(backbone="resnet8_tiny"),
        lambda: PretextModule(backbone="resnet8_tiny", attack=ATTACK, weight=0),
        lambda: RobustClassifier("resnet8_tiny"),
    ],
)
def test_one_attack_is_accepted(create: Any) -> None:
    assert check_attacked_once(create()) is None  # type: ignore[func-returns-value]


def trainer_that(sync_batchnorm: bool, strategy: str = "ddp") -> pl.Trainer:
    return pl.Trainer(
        strategy=strategy,
        sync_batchnorm=sync_batchnorm,
        devices=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
    )


def test_torch_drops_the_activation_and_timm_keeps_it() -> None:
    """Why the refusal is there; it can go once torch keeps the activation."""
    images = torch.randn(2, 8, 4, 4)
    layer = timm_layers.BatchNormAct2d(8).eval()
    acted: Tensor = layer(images)
    assert acted.min() == 0
    assert convert_as_torch(layer)(images).min() < 0
    kept = timm_layers.convert_sync_batchnorm(layer)
    assert torch.equal(kept(images), acted)
    # Nor does it help to convert with timm first, and to leave the switch on.
    assert convert_as_torch(kept)(images).min() < 0


@pytest.mark.parametrize("synchronised", [False, True])
def test_a_conversion_that_drops_activations_is_refused(synchronised: bool) -> None:
    module = Acting(synchronised=synchronised)
    message = r"layer 'backbone\.1' is a .*Act.*timm.layers.convert_sync_batchnorm"
    with pytest.raises(ValueError, match=message):
        check_trainable(trainer_that(sync_batchnorm=True), module)


@pytest.mark.parametrize(
    ("module", "sync_batchnorm", "strategy"),
    [
        (Acting, False, "ddp"),
        (functools.partial(Acting, synchronised=True), False, "ddp"),
        (functools.partial(Acting, apply_act=False), True, "ddp"),
        (zoo.Base, True, "ddp"),
        # Nothing is converted where there is one process only.
        (Acting, True, "auto"),
    ],
)
def test_other_conversions_are_accepted(
    module: Any, sync_batchnorm: bool, strategy: str
) -> None:
    trainer = trainer_that(sync_batchnorm, strategy)
    assert check_trainable(trainer, module()) is None  # type: ignore[func-returns-value]
