"""One evaluation of one model: state, progress and processes, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation import digests, processes, verdicts
from lightly_adv.evaluation.state import State
from lightly_adv.evaluation.verdicts import Verdict
from lightly_adv.isolation import rng


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of an evaluation."""

    images: Tensor
    """Images of shape (B, C, H, W), on the device of the model."""

    labels: Tensor
    """Class numbers of shape (B,), on the same device."""

    index: int
    """Number of the batch."""

    first: int
    """Number of its first image."""

    key: tuple[int, int, int]
    """Integers that seed all that is drawn for this batch."""


BatchFunction: TypeAlias = Callable[[Batch], Verdict]
"""Returns which images of a batch are correctly classified.

It is called inside of `Evaluation.undisturbed`, with the global random states seeded
by the seed and the index of the batch, so that what it returns depends on neither the
other batches nor on what was read from a state file.
"""


@dataclass(eq=False)
class Evaluation:
    """Runs a function over the batches that fall to this process and are not done yet.

    Args:
        model: The model.
        device: Where it is.
        settings: What tells this evaluation from others, besides the model, ready for
            JSON; a state file of other settings is refused.
        seed: Seed of all that is drawn.
        state: File to keep the results in, if any; see `State`.
        progress: Show a progress bar.
        surrogate: Another classifier that the results are about, too.
    """

    model: nn.Module
    device: torch.device
    settings: Mapping[str, Any]
    seed: int = 0
    state: str | os.PathLike[str] | None = None
    progress: bool = False
    surrogate: nn.Module | None = None

    def __post_init__(self) -> None:
        """Read the state file, before anything is computed."""
        self._rank, self._size = processes.rank_and_size()
        self.kept = self._read_state()
        self._own: dict[int, Verdict] = {}
        self._digests: list[str] = []
        self._data = digests.Data()
        self._count = 0
        self._largest = 0
        self._bar: tqdm[Any] | None = None

    @contextmanager
    def undisturbed(self) -> Iterator[tuple[nn.Module, nn.Module | None]]:
        """Yield model and surrogate as they may be called; see there."""
        with ExitStack() as stack:
            model, surrogate = (
                each
                and stack.enter_context(
                    verdicts.undisturbed(each, device=self.device, seed=self.seed)
                )
                for each in (self.model, self.surrogate)
            )
            assert model is not None
            self._called = {"model": model, "surrogate": surrogate}
            yield model, surrogate

    def run(
        self,
        loaded: Iterable[tuple[Tensor, Tensor]],
        measure: BatchFunction,
        *,
        total: int | None,
        description: str,
    ) -> list[Verdict]:
        """Return the results of all batches, also of those of other processes.

        Args:
            loaded: Images and labels, the same in all processes.
            measure: Returns the result of a batch.
            total: Number of images, if it is known.
            description: What the progress bar says.

        Raises:
            ValueError: If the state belongs to other images or another model.
        """
        error: Exception | None = None
        self._bar = self.bar(total=total, unit="images", desc=description)
        try:
            with self._bar as bar:
                for images, labels in loaded:
                    self._take(images, labels, measure)
                    bar.update(len(images))
                    robust = sum(int(x.worst.sum()) for x in self._own.values())
                    bar.set_postfix(robust=robust)
        except Exception as raised:
            if self._size == 1:
                raise
            error = raised  # the others wait for this one, so they have to know
        return processes.gather(self._own, self._digests, error)

    def bar(self, **options: Any) -> tqdm[Any]:
        """Return a progress bar, shown by the first process if at all."""
        return tqdm(disable=not (self.progress and self._rank == 0), **options)

    def describe(self, text: str) -> None:
        """Show what is being done beside the progress bar."""
        if self._bar is not None:
            self._bar.set_description(text)

    @cached_property
    def model_digest(self) -> str:
        """Digest of the layers and weights of the model."""
        return digests.of_model(self.model)

    @property
    def batch_size(self) -> int:
        """Size of the largest batch so far."""
        return self._largest

    @property
    def data_digest(self) -> str:
        """Digest of all images and labels so far."""
        return self._data.hexdigest()

    def facts(self) -> dict[str, Any]:
        """Return what every report says of how its numbers came about."""
        return {
            "seed": self.seed,
            "model_digest": self.model_digest,
            "data_digest": self.data_digest,
            "batch_size": self.batch_size,
            "device": self.device.type,
        }

    def _read_state(self) -> State | None:
        if self.state is None:
            return None
        path = f"{os.fspath(self.state)}"
        identity = {"model": self.model_digest, **self.settings, "seed": self.seed}
        if self.surrogate is not None:
            identity["surrogate"] = digests.of_model(self.surrogate)
        return State(Path(f"{path}.{self._rank}" if self._size > 1 else path), identity)

    def _take(self, images: Tensor, labels: Tensor, measure: BatchFunction) -> None:
        index, first = len(self._digests), self._count
        self._data.add(images, labels)
        self._count += len(images)
        self._largest = max(self._largest, len(images))
        needed = self.kept is not None or self._size > 1
        digest = digests.of_batch(images, labels) if needed else ""
        self._digests.append(digest)
        if index % self._size != self._rank:
            return
        known = self.kept.find(index, digest) if self.kept is not None else None
        # As the only process would be keyed: see RobustValidation.
        key = (self.seed, 0, index)
        images, labels = images.to(self.device), labels.to(self.device)
        batch = Batch(images, labels, index, first, key)
        result = known or self._measured(batch, measure)
        if self.kept is not None and not self._own:
            self._recognise(self.kept, batch)
        if self.kept is not None and known is None:
            self.kept.add(index, digest, result)
        self._own[index] = result

    def _measured(self, batch: Batch, measure: BatchFunction) -> Verdict:
        with self._seeded(batch):
            return measure(batch).cpu()

    def _recognise(self, state: State, batch: Batch) -> None:
        """Let the state refuse models that it does not belong to."""
        for name, model in self._called.items():
            if model is not None:
                state.recognise(name, partial(self._logits, model, batch))

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        with self._seeded(batch):
            logits = model(batch.images)
        return verdicts.checked_logits(logits, batch.labels).cpu()

    @contextmanager
    def _seeded(self, batch: Batch) -> Iterator[None]:
        """Seed what a model draws: it must not depend on which batches came before."""
        with rng.forked(self.device):
            rng.reseed(rng.batch_generator(*batch.key).initial_seed())
            yield
