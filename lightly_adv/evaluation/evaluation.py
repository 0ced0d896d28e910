"""One evaluation: state, progress and processes, batch by batch."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation import classification, digests, isolated_model, processes
from lightly_adv.evaluation.batches import Batch, BatchResult
from lightly_adv.evaluation.isolated_model import IsolatedModel
from lightly_adv.evaluation.state import State
from lightly_adv.functional.validation import did_you_mean
from lightly_adv.isolation import rng
from lightly_adv.processes import rank_and_size

BatchFunction: TypeAlias = Callable[[Batch], BatchResult]
"""Returns what becomes of a batch.

It is called inside of `Evaluation.isolated`, with the global random states seeded
by the seed and the index of the batch, so that what it returns depends on neither the
other batches nor on what was read from a state file.
"""

AnswerFunction: TypeAlias = Callable[[IsolatedModel, Batch], Tensor]
"""Returns the outputs of a model, (B, D), which a state file recognises it by."""


def logits_of(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits of a classifier, checked."""
    return classification.checked_logits(model(batch.images), batch.labels)


class EvaluationOptions(TypedDict, total=False):
    """What means the same in all evaluations; any of it may be left out.

    Args:
        max_samples: Evaluate only the first that many images. Defaults to the number of
            the suite, where there is one that has a number, else to all of them.
        device: Where to evaluate; models are moved there, and stay there. Defaults to
            the device of the model, of the first one if there are several.
        seed: Seed of all that is drawn, by default 0. With the same seed and the same
            batches the result is the same.
        progress: Show a progress bar. Defaults to False.
        state: File to keep results in, batch by batch. If it exists, the evaluation
            resumes behind the batches in it; the loader has to give the same ones. In
            a process group every process has its own, whose name ends in its number.
    """

    max_samples: int | None
    device: str | torch.device | None
    seed: int
    progress: bool
    state: str | os.PathLike[str] | None


def check_options(function: Callable[..., Any], options: Iterable[str]) -> None:
    """Refuse what is no option of an evaluation.

    Args:
        function: Function that the caller has called, for the message.
        options: Names of what it was given besides its own arguments.

    Raises:
        TypeError: If a name is unknown, with the near ones.

    Examples:
        >>> def evaluate(model, *, suite, **options): ...
        >>> check_options(evaluate, ["max_sample"])
        Traceback (most recent call last):
        ...
        TypeError: evaluate() has no option 'max_sample'. Did you mean 'max_samples'...
    """
    own = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    known = [*own, *EvaluationOptions.__annotations__]
    for name in options:
        if name not in known:
            raise TypeError(
                f"{function.__name__}() has no option {name!r}. "
                f"{did_you_mean(name, known)}Expected: {', '.join(known)}."
            )


class Evaluation:
    """Runs a function over the batches that fall to this process and are not done yet.

    Args:
        models: The models that the results are about, by name.
        settings: What tells this evaluation from others, besides the models, ready for
            JSON; a state file of other settings is refused.
        answers: What models are recognised by. Defaults to their logits.
        max_samples: See `EvaluationOptions`, also for the rest.
        device: Where to evaluate.
        seed: Seed of all that is drawn.
        progress: Show a progress bar.
        state: File to keep results in.

    Raises:
        TypeError: If a model is not a module.
        ValueError: If the state belongs to another evaluation.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        settings: Mapping[str, Any],
        *,
        answers: AnswerFunction = logits_of,
        max_samples: int | None = None,
        device: str | torch.device | None = None,
        seed: int = 0,
        progress: bool = False,
        state: str | os.PathLike[str] | None = None,
    ) -> None:
        self.models = models
        self.max_samples = max_samples
        self.seed = seed
        self.device = isolated_model.to_device(models, device)
        self._progress = progress
        self._answers = answers
        self._rank, self._size = rank_and_size()
        self.settings = dict(settings)
        self.kept: State | None = None
        self._state = state
        if state is not None:
            _ = self._model_digests  # of the models as they are, not isolated
        self._own: dict[int, BatchResult] = {}
        self._digests: list[str] = []
        self._data = digests.Data()
        self._count = 0
        self._largest = 0
        self._bar: tqdm[Any] | None = None
        self.isolated_models: dict[str, IsolatedModel] = {}

    @contextmanager
    def isolated(self) -> Iterator[dict[str, IsolatedModel]]:
        """Yield the models as they may be called, by name."""
        with ExitStack() as stack:
            self.isolated_models = {
                name: stack.enter_context(
                    isolated_model.isolated(model, device=self.device, seed=self.seed)
                )
                for name, model in self.models.items()
            }
            yield self.isolated_models

    def run(
        self,
        loaded: Iterable[tuple[Tensor, Tensor]],
        measure: BatchFunction,
        *,
        description: str,
        total: int | None = None,
    ) -> list[BatchResult]:
        """Return the results of all batches, also of those of other processes.

        Args:
            loaded: Images and labels, the same in all processes.
            measure: Returns the result of a batch.
            description: What the progress bar says.
            total: Number of images, if it is known.

        Raises:
            ValueError: If the state belongs to other images or another model.
        """
        self.kept = self._read_state()
        error: Exception | None = None
        self._bar = self.bar(total=total, unit="images", desc=description)
        try:
            with self._bar as bar:
                for images, labels in loaded:
                    self._take(images, labels, measure)
                    bar.update(len(images))
                    if all(result.flags for result in self._own.values()):
                        robust = (int(x.robust.sum()) for x in self._own.values())
                        bar.set_postfix(robust=sum(robust))
        except Exception as raised:
            if self._size == 1:
                raise
            error = raised  # the others wait for this one, so they have to know
        return processes.gather(self._own, self._digests, error)

    def bar(self, **options: Any) -> tqdm[Any]:
        """Return a progress bar, shown by the first process if at all."""
        return tqdm(disable=not (self._progress and self._rank == 0), **options)

    def describe(self, text: str) -> None:
        """Show what is being done beside the progress bar."""
        if self._bar is not None:
            self._bar.set_description(text)

    @property
    def batch_size(self) -> int:
        """Size of the largest batch so far."""
        return self._largest

    @property
    def data_digest(self) -> str:
        """Digest of all images and labels so far."""
        return self._data.hexdigest()

    @cached_property
    def _model_digests(self) -> dict[str, str]:
        return {name: digests.of_model(model) for name, model in self.models.items()}

    def facts(self) -> dict[str, Any]:
        """Return what every report says of how its numbers came about."""
        return {
            "seed": self.seed,
            "model_digest": self._model_digests.get("model", ""),
            "data_digest": self.data_digest,
            "batch_size": self.batch_size,
            "device": self.device.type,
        }

    def _read_state(self) -> State | None:
        if self._state is None:
            return None
        path = os.fspath(self._state)
        identity = {**self._model_digests, **self.settings, "seed": self.seed}
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
            for name, model in self.isolated_models.items():
                self.kept.recognise(name, partial(self._answer, model, batch))
        if self.kept is not None and known is None:
            self.kept.add(index, digest, result)
        self._own[index] = result

    def _measured(self, batch: Batch, measure: BatchFunction) -> BatchResult:
        with self._seeded(batch):
            return measure(batch).cpu()

    def _answer(self, model: IsolatedModel, batch: Batch) -> Tensor:
        with self._seeded(batch):
            return self._answers(model, batch).cpu()

    @contextmanager
    def _seeded(self, batch: Batch) -> Iterator[None]:
        """Seed what a model draws: it must not depend on which batches came before."""
        with rng.forked(self.device):
            rng.reseed(rng.batch_generator(*batch.key).initial_seed())
            yield
