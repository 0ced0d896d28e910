from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.callbacks.refusals import check_trainable
from tests import zoo

pytestmark = pytest.mark.filterwarnings("ignore")


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
    refuse(Manual(), r"Manual uses manual optimisation.*Return the loss")


def test_a_step_that_pulls_its_batches_is_refused() -> None:
    refuse(Pulling(), r"takes a dataloader_iter")


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
