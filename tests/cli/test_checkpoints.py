from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel

from lightly_adv.callbacks.exact_resume import ExactResume
from lightly_adv.cli import checkpoints
from lightly_adv.cli.checkpoints import SaveBest, SaveLast, WholeFiles
from lightly_adv.cli.finetune import load_weights
from lightly_adv.cli.signals import Stop, Stopped

pytestmark = pytest.mark.filterwarnings("ignore")


class Scores(BoringModel):
    """Logs a given value after every epoch, and may be stopped within one."""

    def __init__(
        self,
        scores: list[float],
        stop_at: int | None = None,
        signal_at: tuple[int, Stop] | None = None,
    ) -> None:
        super().__init__()
        self.scores = scores
        self.stop_at = stop_at
        self.signal_at = signal_at

    def training_step(self, *args: Any) -> Any:
        if self.global_step == self.stop_at:
            raise KeyboardInterrupt
        if self.signal_at and self.global_step == self.signal_at[0]:
            self.signal_at[1].handle(signal.SIGINT)
        return super().training_step(*args)

    def validation_step(self, *args: Any) -> Any:
        self.log("val_top1", torch.tensor(self.scores[self.current_epoch]))
        return super().validation_step(*args)


def fit(
    model: Scores,
    *callbacks: pl.Callback,
    path: Path | None = None,
    whole: bool = False,
) -> pl.Trainer:
    trainer = pl.Trainer(
        plugins=[WholeFiles("last.ckpt")] if whole else [],
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


def last(folder: Path, **options: Any) -> list[Any]:
    exact = ExactResume()
    return [exact, SaveLast(folder / "last.ckpt", exact=exact, **options)]


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
        fit(Scores([1.0, 2.0, 3.0], stop_at=5), *checkpoints.callbacks(tmp_path))
    assert steps(tmp_path / "last.ckpt") == 4


def test_what_was_best_before_a_resume_counts(tmp_path: Path) -> None:
    fit(Scores([1.0, 3.0]), *checkpoints.callbacks(tmp_path))
    path = tmp_path / "last.ckpt"
    fit(Scores([1.0, 3.0, 2.0, 4.0][:3]), *checkpoints.callbacks(tmp_path), path=path)
    assert steps(tmp_path / "best-clean.ckpt") == 4


def test_a_value_that_is_not_logged_is_no_error(tmp_path: Path) -> None:
    fit(Scores([1.0]), SaveBest(tmp_path / "x.ckpt", monitor="val_robust_top1"))
    assert not list(tmp_path.iterdir())


def test_a_signal_in_a_step_waits_for_its_end(tmp_path: Path) -> None:
    stop = Stop()
    with pytest.raises(SystemExit):
        fit(Scores([1.0, 2.0], signal_at=(2, stop)), *last(tmp_path, stop=stop))
    assert steps(tmp_path / "last.ckpt") == 3
    resumed = fit(Scores([1.0, 2.0]), *last(tmp_path), path=tmp_path / "last.ckpt")
    assert (resumed.current_epoch, resumed.global_step) == (2, 4)


def test_a_second_signal_does_not_wait() -> None:
    stop = Stop()
    stop.deferred = True
    stop.handle(signal.SIGTERM)
    assert stop.exit_code == 143
    with pytest.raises(Stopped):
        stop.handle(signal.SIGTERM)


def test_there_is_a_checkpoint_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(Scores([1.0], stop_at=0), *last(tmp_path))
    assert steps(tmp_path / "last.ckpt") == 0
    resumed = fit(Scores([1.0]), *last(tmp_path), path=tmp_path / "last.ckpt")
    assert resumed.global_step == 2


def test_time_passes_within_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(Scores([1.0], stop_at=1), *last(tmp_path, seconds=1e-9))
    # Writing takes its time, too, and must not take all.
    assert steps(tmp_path / "last.ckpt") in (0, 1)
    (saver,) = last(tmp_path, seconds=0.0)[1:]
    assert saver.seconds == 0.0


def test_a_checkpoint_is_kept_until_the_next_is_whole(tmp_path: Path) -> None:
    whole = WholeFiles("last.ckpt")
    path = tmp_path / "last.ckpt"
    for number in range(3):
        whole.save_checkpoint({"number": number}, path)
    assert torch.load(path, weights_only=True) == {"number": 2}
    assert torch.load(checkpoints.before(path), weights_only=True) == {"number": 1}
    whole.save_checkpoint({}, tmp_path / "best-clean.ckpt")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_broken_checkpoint_names_the_one_before(tmp_path: Path) -> None:
    fit(Scores([1.0, 2.0]), *last(tmp_path), whole=True)
    path = tmp_path / "last.ckpt"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged.*before-last\.ckpt"):
        WholeFiles().load_checkpoint(path)
    checkpoints.before(path).write_bytes(b"")
    with pytest.raises(ValueError, match="Take another checkpoint"):
        WholeFiles().load_checkpoint(path)


def test_weights_alone_are_nothing_to_go_on_from(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"no loops.*--model\.checkpoint"):
        WholeFiles().load_checkpoint(tmp_path / "x.ckpt")


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("argument", [None, False, True])
def test_a_foreign_checkpoint_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: bool | None
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"state_dict": {}, "x": Hostile(tmp_path / "ran")}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt is damaged, or no checkpoint"):
        WholeFiles().load_checkpoint(tmp_path / "x.ckpt", weights_only=argument)
    assert not (tmp_path / "ran").exists()


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
