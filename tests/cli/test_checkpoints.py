from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel

from lightly_adv.cli import checkpoints
from lightly_adv.cli.checkpoints import SaveBest, SaveOnInterrupt
from lightly_adv.cli.finetune import load_weights

pytestmark = pytest.mark.filterwarnings("ignore")


class Scores(BoringModel):
    """Logs a given value after every epoch, and may be stopped within one."""

    def __init__(self, scores: list[float], stop_at: int | None = None) -> None:
        super().__init__()
        self.scores = scores
        self.stop_at = stop_at

    def training_step(self, *args: Any) -> Any:
        if self.global_step == self.stop_at:
            raise KeyboardInterrupt
        return super().training_step(*args)

    def validation_step(self, *args: Any) -> Any:
        self.log("val_top1", torch.tensor(self.scores[self.current_epoch]))
        return super().validation_step(*args)


def fit(model: Scores, *callbacks: pl.Callback, path: Path | None = None) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=len(model.scores),
        limit_train_batches=2,
        limit_val_batches=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=any(
            isinstance(c, pl.callbacks.Checkpoint) for c in callbacks
        ),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, ckpt_path=path)
    return trainer


def steps(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


def test_the_best_and_the_last_are_kept(tmp_path: Path) -> None:
    fit(Scores([1.0, 3.0, 2.0]), *checkpoints.callbacks(tmp_path))
    assert {each.name for each in tmp_path.iterdir()} == {
        "best-clean.ckpt",
        "last.ckpt",
    }
    assert steps(tmp_path / "best-clean.ckpt") == 4
    assert steps(tmp_path / "last.ckpt") == 6


def test_the_last_one_is_there_after_every_epoch(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(Scores([1.0, 2.0, 3.0], stop_at=5), *checkpoints.callbacks(tmp_path)[:-1])
    assert steps(tmp_path / "last.ckpt") == 4


def test_what_was_best_before_a_resume_counts(tmp_path: Path) -> None:
    fit(Scores([1.0, 3.0]), *checkpoints.callbacks(tmp_path))
    path = tmp_path / "last.ckpt"
    fit(Scores([1.0, 3.0, 2.0, 4.0][:3]), *checkpoints.callbacks(tmp_path), path=path)
    assert steps(tmp_path / "best-clean.ckpt") == 4


def test_a_value_that_is_not_logged_is_no_error(tmp_path: Path) -> None:
    fit(Scores([1.0]), SaveBest(tmp_path / "x.ckpt", monitor="val_robust_top1"))
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(SystemExit):
        fit(Scores([1.0, 2.0], stop_at=3), SaveOnInterrupt(path))
    assert steps(path) == 3
    resumed = fit(Scores([1.0, 2.0]), path=path)
    assert resumed.current_epoch == 2


def test_there_is_nothing_to_save_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(Scores([1.0], stop_at=0), SaveOnInterrupt(tmp_path / "last.ckpt"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_that_is_cut_off_anywhere(tmp_path: Path, mmap: bool) -> None:
    whole, cut = tmp_path / "whole.ckpt", tmp_path / "cut.ckpt"
    torch.save({"state_dict": {"weight": torch.rand(200, 200)}}, whole)
    content = whole.read_bytes()
    # Torch raises an OSError below 70,000 bytes, and others elsewhere.
    for length in (0, 1, 3_000, 20_000, 60_000, 100_000, len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.ckpt is damaged, or no checkpoint"):
            checkpoints.read(cut, mmap=mmap)
    with pytest.raises(FileNotFoundError, match=r"nothing\.ckpt"):
        checkpoints.read(tmp_path / "nothing.ckpt", mmap=mmap)


@pytest.mark.parametrize("content", [[1], {"epoch": 3}, {"state_dict": None}])
def test_a_file_without_weights(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt has no state_dict"):
        checkpoints.read(tmp_path / "x.ckpt")


def test_keys_that_do_not_fit_are_all_told(tmp_path: Path) -> None:
    state = {"layer.weight": torch.zeros(3, 32), "other": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="not hold the weights of this Bor") as found:
        load_weights(BoringModel(), tmp_path / "x.ckpt")
    text = str(found.value)
    assert "\n" not in text
    for part in (
        'Missing key(s) in state_dict: "layer.bias"',
        'Unexpected key(s) in state_dict: "other"',
        "size mismatch for layer.weight",
        "Take another checkpoint",
    ):
        assert part in text
