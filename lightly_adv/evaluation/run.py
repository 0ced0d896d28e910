"""One run over the images of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.attacks import Attack
from lightly_adv.evaluation import digests, processes, verdicts
from lightly_adv.evaluation.state import State
from lightly_adv.evaluation.verdicts import Verdict
from lightly_adv.isolation import rng


class Run:
    """Attacks the batches that fall to this process and are not done yet.

    Args:
        model: Maps images to logits; inside of `verdicts.undisturbed`.
        attacks: The attacks by name.
        device: Where the model is.
        seed: Seed of the noise.
        state: The verdicts that are known, if any are kept.
        surrogate: Another classifier that the state is about.
    """

    def __init__(
        self,
        model: nn.Module,
        attacks: Mapping[str, Attack],
        *,
        device: torch.device,
        seed: int,
        state: State | None,
        surrogate: nn.Module | None = None,
    ) -> None:
        self._model = model
        self._surrogate = surrogate
        self._attacks = attacks
        self._device = device
        self._seed = seed
        self._state = state
        self._rank, self._size = processes.rank_and_size()
        self._own: dict[int, Verdict] = {}
        self._digests: list[str] = []
        self._data = digests.Data()

    @property
    def data_digest(self) -> str:
        """Digest of all images and labels that came."""
        return self._data.hexdigest()

    def over(
        self, batches: Iterable[tuple[Tensor, Tensor]], bar: tqdm[Any]
    ) -> list[Verdict]:
        """Return the verdicts on all batches, also on those of other processes."""
        error: Exception | None = None
        try:
            with bar:
                for images, labels in batches:
                    self._take(images, labels)
                    bar.update(len(images))
                    bar.set_postfix(standing=self._standing())
        except Exception as raised:
            if self._size == 1:
                raise
            error = raised  # the others have to be told: they wait for this one
        found = processes.gather(self._own, self._digests, error)
        if not found:
            raise ValueError(
                "the loader gave no images; expected at least one batch. Is the data "
                "set empty, smaller than a batch with drop_last=True, or an iterator "
                "that is used up?"
            )
        return found

    def _take(self, images: Tensor, labels: Tensor) -> None:
        index = len(self._digests)
        self._data.add(images, labels)
        needed = self._state is not None or self._size > 1
        digest = digests.of_batch(images, labels) if needed else ""
        self._digests.append(digest)
        if index % self._size != self._rank:
            return
        known = self._state.find(index, digest) if self._state is not None else None
        verdict = known or self._attack(index, images, labels)
        if self._state is not None and not self._own:
            self._recognise(self._state, index, images, labels)
        if self._state is not None and known is None:
            self._state.add(index, digest, verdict)
        self._own[index] = verdict

    def _attack(self, index: int, images: Tensor, labels: Tensor) -> Verdict:
        images, labels = images.to(self._device), labels.to(self._device)
        with self._seeded(index):
            found = verdicts.attack_batch(
                self._model, images, labels, self._attacks, key=self._key(index)
            )
        return found.cpu()

    def _recognise(
        self, state: State, index: int, images: Tensor, labels: Tensor
    ) -> None:
        """Let the state refuse models that it is not about."""
        for name, model in (("model", self._model), ("surrogate", self._surrogate)):
            if model is not None:
                state.recognise(name, partial(self._ask, model, index, images, labels))

    def _ask(
        self, model: nn.Module, index: int, images: Tensor, labels: Tensor
    ) -> Tensor:
        with self._seeded(index):
            logits = model(images.to(self._device))
        return verdicts.checked_logits(logits, labels).cpu()

    @contextmanager
    def _seeded(self, index: int) -> Iterator[None]:
        """Seed what a model draws: it must not hang on which batches came before."""
        with rng.forked(self._device):
            rng.reseed(rng.batch_generator(*self._key(index)).initial_seed())
            yield

    def _key(self, index: int) -> tuple[int, int, int]:
        return self._seed, 0, index  # as the only process: see RobustValidation

    def _standing(self) -> int:
        return sum(int(verdict.worst.sum()) for verdict in self._own.values())
