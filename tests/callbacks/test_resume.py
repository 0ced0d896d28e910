"""A run that stops in the middle of an epoch, and goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.attacks import AttackSchedule
from tests import zoo

ATTACK = PGD(ThreatModel(eps=0.05), steps=2)
AFTER = 6
"""Steps after which to stop: an epoch has four."""

pytestmark = pytest.mark.filterwarnings("ignore")


class Still(zoo.Momentum):
    """Without dropout: Lightning does not keep random streams in its checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone[3] = nn.Identity()
        self.momentum_backbone[3] = nn.Identity()
        # A checkpoint keeps it, unlike the bank.
        self.criterion = zoo.Base().criterion


class Batches(torch.utils.data.DataLoader[Any]):
    """The loader of the zoo, which remembers its place as Lightning asks for it."""

    def __init__(self) -> None:
        inner = zoo.batches()
        super().__init__(inner.dataset, batch_size=None)
        self.done = 0
        self.start = 0

    def __iter__(self) -> Any:
        start, self.start = self.start, 0
        for at in range(start, len(self)):
            self.done = at + 1
            yield self.dataset[at]

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start = state["done"] % len(self)


def fit(
    callbacks: list[pl.Callback], *, stop: int = -1, resume: Path | None = None
) -> tuple[pl.LightningModule, pl.Trainer]:
    # Another seed than at the beginning, as in a new process; the global one is kept.
    pl.seed_everything(1, verbose=False)
    torch.manual_seed(0 if resume is None else 7)
    module = Still()
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, *([Stop(stop)] if stop > 0 else [])],
    )
    trainer.fit(module, Batches(), ckpt_path=resume)
    return module, trainer


class Stop(pl.Callback):
    """Ends the run as if the process had been killed."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint("stopped.ckpt")
            raise StoppedError


class StoppedError(Exception):
    """The run was stopped."""


def resumed(make: Any, folder: Path) -> tuple[pl.LightningModule, pl.Trainer]:
    with pytest.raises(StoppedError):
        fit(make(), stop=AFTER)
    return fit(make(), resume=folder / "stopped.ckpt")


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        {"attack": ATTACK, "mode": "dual", "rng": "resample"},
        {"attack": AttackSchedule(ATTACK, ramp=0.8), "independent": True},
    ],
)
def test_a_run_goes_on_as_if_it_had_not_stopped(
    arguments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> list[pl.Callback]:
        return [] if arguments is None else [AdversarialTraining(**arguments)]

    monkeypatch.chdir(tmp_path)
    seen: list[Tensor] = []
    call = PGD.perturb_views

    def spy(self: PGD, *given: Any, **kwargs: Any) -> list[Tensor]:
        found = call(self, *given, **kwargs)
        seen.extend(found)
        return found

    monkeypatch.setattr(PGD, "perturb_views", spy)
    whole, whole_trainer = fit(make())
    parts, parts_trainer = resumed(make, tmp_path)
    assert parts_trainer.global_step == whole_trainer.global_step == 3 * zoo.STEPS
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    half = len(seen) // 2
    for first, second in zip(seen[:half], seen[half:], strict=True):
        assert torch.equal(first, second)
