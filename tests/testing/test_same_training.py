from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.testing import assert_trains_the_same

pytestmark = pytest.mark.filterwarnings("ignore")


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48, 4)
        # Without a bank, its pointer is memory that nobody wrote.
        self.criterion = NTXentLoss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        noise = torch.rand(len(batch), 1, 1, 1)
        z = self.layer((batch * noise).flatten(start_dim=1))
        loss: Tensor = self.criterion(z, self.layer(batch.flatten(start_dim=1)))
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def fitting(
    create: Callable[[], pl.LightningModule] = Module, **options: Any
) -> Callable[[list[Any]], pl.Trainer]:
    def fit(callbacks: list[Any]) -> pl.Trainer:
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[Beside(), *callbacks],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        images: Any = [torch.rand(3, 3, 4, 4) for _ in range(2)]
        loader = torch.utils.data.DataLoader(images, batch_size=None)
        trainer.fit(create(), loader)
        return trainer

    return fit


class Beside(pl.Callback):
    """A callback of the project, with state of its own."""

    def __init__(self) -> None:
        self.largest = 0.0


def at(eps: float) -> AdversarialTraining:
    return AdversarialTraining(PGD(ThreatModel(eps=eps), steps=1))


def test_nothing_differs_at_eps_zero() -> None:
    before = torch.get_rng_state()
    assert_trains_the_same(fitting(), at(0.0))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_attack_is_found() -> None:
    with pytest.raises(AssertionError, match=r"AdversarialTraining.*layer\.weight"):
        assert_trains_the_same(fitting(), at(8 / 255))


class Meddles(pl.Callback):
    """Changes one thing of a training."""

    def __init__(self, change: Callable[[pl.Trainer, Any], object]) -> None:
        self.change = change

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.change(trainer, pl_module)


def _beside(trainer: Any) -> Beside:
    return next(each for each in trainer.callbacks if isinstance(each, Beside))


CHANGES: dict[str, Callable[[Any, Any], object]] = {
    r"param_groups'\]\[0\]\['lr'\]": lambda trainer, module: (
        trainer.optimizers[0].param_groups[0].update(lr=1.0)
    ),
    "momentum_buffer": lambda trainer, module: (
        trainer.optimizers[0].state[module.layer.weight]["momentum_buffer"].mul_(2)
    ),
    "last_epoch": lambda trainer, module: trainer.lr_scheduler_configs[
        0
    ].scheduler.step(),
    "largest": lambda trainer, module: setattr(_beside(trainer), "largest", 1.0),
    "logged": lambda trainer, module: trainer.logged_metrics["loss"].add_(1),
    "module.new": lambda trainer, module: setattr(module, "new", 1),
    "random state of torch": lambda trainer, module: torch.rand(1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_everything_that_a_training_keeps_is_compared(name: str) -> None:
    with pytest.raises(AssertionError, match=f"Meddles ends with .*{name}"):
        assert_trains_the_same(fitting(), Meddles(CHANGES[name]))


def test_a_training_that_does_not_repeat_is_told_from_one_that_leaks() -> None:
    module = Module()  # goes on where the run before has ended
    with pytest.raises(AssertionError, match="without the callback"):
        assert_trains_the_same(fitting(lambda: module), at(0.0))


def test_a_training_without_a_step_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="took 0 steps"):
        assert_trains_the_same(fitting(limit_train_batches=0), at(0.0))
