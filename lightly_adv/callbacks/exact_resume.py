"""Let a training that is resumed end where one without a stop would have ended."""

from __future__ import annotations

from typing import Any

from torch import distributed

from lightly_adv.isolation import rng
from lightly_adv.lightning import Callback, pl

KEY = "exact_resume"
"""Where a checkpoint keeps what this callback knows."""


class ExactResume(Callback):
    """Keep in every checkpoint what Lightning does not, and go on from it.

    These are the random states of torch, NumPy, Python and the device, in every
    process, and the place within the epoch. With it the weights after a resume are bit
    for bit those of a training that was not stopped, from any checkpoint that was
    written after a batch or between two epochs, such as those of
    `ModelCheckpoint(every_n_train_steps=...)`. A checkpoint written in the middle of a
    step, as by `OnExceptionCheckpoint`, cannot be gone on from exactly.

    A loader with `state_dict` and `load_state_dict`, as those of our data modules and
    torchdata's `StatefulDataLoader`, goes on by itself; the latter does not keep the
    random states of its workers, so that these must not draw numbers. Any other is
    begun with the random states that the epoch began with, and the batches that were
    trained on are loaded once more and thrown away. That is exact if the batches of an
    epoch follow from the random states at its beginning, from its number, or from
    nothing. It is not with workers that outlive the epoch (`persistent_workers=True`)
    and draw random numbers, and it cannot be with a stream of data that does not
    repeat.

    Both processes have to be seeded alike, by `seed_everything`. Values that are
    averaged over an epoch are averaged over what is left of it.

    Examples:
        >>> callbacks = [
        ...     ExactResume(), pl.callbacks.ModelCheckpoint(every_n_train_steps=500)
        ... ]
    """

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}
        self.at_rest = True
        """Whether a checkpoint that is written now can be gone on from exactly."""
        self._epoch_streams: rng.Streams | None = None
        self._loaded: dict[str, Any] | None = None
        self._steps = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember what the first epoch begins with: its loader comes next."""
        if self._loaded is None:
            self._epoch_streams = rng.capture(pl_module.device)

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Bring loader and random states to where the checkpoint was written."""
        loaded, self._loaded = self._loaded, None
        self._steps, self.at_rest = trainer.global_step, True
        if loaded is None:
            return
        rank = trainer.global_rank % len(loaded["streams"])
        self._epoch_streams = loaded["epoch_streams"][rank]
        done = _batches_done(trainer)
        rng.restore(loaded["epoch_streams"][rank], pl_module.device)
        if done > 0 and _keeps_its_place(trainer):
            _load_places(trainer)
        else:
            _begin_epoch(trainer, skip=done)
        if done > 0:
            rng.restore(loaded["streams"][rank], pl_module.device)

    def on_train_epoch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Remember what the epoch begins with; the first loader has begun already."""
        if trainer.current_epoch > 0 and not _restarting(trainer):
            self._epoch_streams = rng.capture(pl_module.device)
        self.at_rest = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        """Notice that a step begins."""
        self._steps, self.at_rest = trainer.global_step, False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        """Notice its end, unless gradients are kept for the next one."""
        stepped = trainer.global_step > self._steps
        self.at_rest = stepped and not _validation_follows(trainer)

    def on_validation_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Notice that the epoch is neither at its end nor between two steps."""
        self.at_rest = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notice that all is done."""
        self.at_rest = True

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Add what is known to a checkpoint."""
        if trainer.state.fn != "fit" or self._epoch_streams is None:
            return
        now = rng.capture(pl_module.device)
        epoch, every = zip(*_of_all_processes((self._epoch_streams, now)), strict=True)
        logged = {name: float(v) for name, v in trainer.callback_metrics.items()}
        checkpoint[KEY] = {
            "epoch_streams": list(epoch),
            "streams": list(every),
            "logged": {**self.logged, **logged},
        }
        if self.at_rest:
            _settle(checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Take up what a checkpoint knows; one of an older version knows nothing."""
        loaded = checkpoint.get(KEY)
        if loaded is not None:
            self.logged = loaded["logged"]
            self._loaded = loaded if trainer.state.fn == "fit" else None


def _batches_done(trainer: pl.Trainer) -> int:
    return int(trainer.fit_loop.epoch_loop.batch_progress.current.ready)


def _restarting(trainer: pl.Trainer) -> bool:
    return bool(trainer.fit_loop.epoch_loop.restarting)


def _validation_follows(trainer: pl.Trainer) -> bool:
    """Return whether Lightning validates, or ends the epoch, before the next batch."""
    loop, every = trainer.fit_loop.epoch_loop, trainer.val_check_batch
    if loop.batch_progress.is_last_batch:
        return True
    if every is None or every == float("inf"):
        return False
    return any((number + 1) % every == 0 for number in _numbers(loop))


def _numbers(loop: Any) -> tuple[int, int]:
    """Return the number of the batch in the epoch, and in the whole training."""
    return loop.batch_idx, loop.total_batch_idx


def _loaders(trainer: pl.Trainer) -> list[Any]:
    combined = trainer.fit_loop._combined_loader
    return [] if combined is None else list(combined.flattened)


def _keeps_its_place(trainer: pl.Trainer) -> bool:
    return all(
        hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
        for loader in _loaders(trainer)
    )


def _load_places(trainer: pl.Trainer) -> None:
    """Load the states of the loaders if Lightning has not.

    It does so when it makes the loaders, which is too early if `configure_optimizers`
    has asked for `trainer.estimated_stepping_batches`: nothing is restored by then.
    """
    loop = trainer.fit_loop
    states = getattr(loop, "_combined_loader_states_to_load", None)
    if not states or loop._combined_loader is None or loop._data_fetcher is None:
        return
    loop._combined_loader._load_state_dicts(states)
    loop._combined_loader_states_to_load = []
    iter(loop._data_fetcher)


def _begin_epoch(trainer: pl.Trainer, *, skip: int) -> None:
    """Begin the loader again, as at the start of the epoch, and skip some batches."""
    epoch = trainer.current_epoch
    for loader in _loaders(trainer):
        for owner in (loader, getattr(loader, "batch_sampler", None)):
            sampler: Any = getattr(owner, "sampler", None)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
    fetcher = trainer.fit_loop._data_fetcher
    if fetcher is None:
        return
    iter(fetcher)
    for _ in range(skip):
        next(fetcher)
    # Lightning adds the batches that were done when it goes on.
    fetcher.fetched -= skip


def _of_all_processes(mine: Any) -> list[Any]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return [mine]
    every: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(every, mine)
    return every


def _settle(loop: dict[str, Any]) -> None:
    """Let the progress say what is true once the hook that saves has returned.

    Lightning counts a batch and an epoch after its hooks. Versions differ in what they
    make of half-counted ones; all agree on what is complete.
    """
    batches, epochs = loop["epoch_loop.batch_progress"], loop["epoch_progress"]
    current = batches["current"]
    if epochs["current"]["started"] > epochs["current"]["processed"]:
        if current["completed"] < current["processed"]:
            loop["epoch_loop.state_dict"]["_batches_that_stepped"] += 1
        for count in (batches["current"], batches["total"]):
            count["completed"] = count["processed"]
        return
    # Between two epochs: the next one has not begun, neither has its loader.
    for count in (epochs["current"], epochs["total"]):
        for name in ("ready", "started", "completed"):
            count[name] = count["processed"]
    batches["is_last_batch"] = False
    for name, progress in loop.items():
        if name.startswith("epoch_loop.") and not name.endswith("state_dict"):
            _zero(progress, all_of="val_loop" in name)
    loop["state_dict"].pop("combined_loader", None)


def _zero(progress: dict[str, Any], *, all_of: bool = False) -> None:
    """Set to zero what is counted within an epoch."""
    for name, value in progress.items():
        if isinstance(value, dict):
            _zero(value, all_of=all_of or name == "current")
        elif all_of and not isinstance(value, bool):
            progress[name] = 0
