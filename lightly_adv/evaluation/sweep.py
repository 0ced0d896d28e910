"""Change images in several ways, and look at which are still correctly classified."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lightly_adv.evaluation import batches, verdicts
from lightly_adv.evaluation.confirmation import Shown
from lightly_adv.evaluation.evaluation import Batch, BatchFunction
from lightly_adv.evaluation.verdicts import Verdict

Loaded: TypeAlias = Iterable[tuple[Tensor, Tensor]]

Change: TypeAlias = Callable[[Batch, Verdict], Iterator[tuple[str, Tensor]]]
"""From a batch and its clean result to changed images, each with its flag's name."""


def measured(model: batches.OnPixels, change: Change, *, count: int) -> BatchFunction:
    """Return the function of a batch that shows its images in all ways.

    Args:
        model: Maps pixels to logits, inside of `Evaluation.undisturbed`.
        change: Yields the changed images.
        count: In how many ways it changes them.
    """

    def measure(batch: Batch) -> Verdict:
        clean = verdicts.attack_batch(
            model, batch.images, batch.labels, {}, key=batch.key
        )
        flags, shown = dict(clean.flags), Shown(batch.images)
        for kind, (name, images) in enumerate(change(batch, clean)):
            logits = batches.logits(model, images, batch.labels)
            shown.take_turns(images, logits, kind=kind, kinds=count, shift=batch.index)
            flags[name] = logits.argmax(dim=1) == batch.labels
        shown.confirm(model)
        worst = torch.stack(list(flags.values())).all(dim=0)
        return clean._replace(flags={**flags, "all": worst})

    return measure


def of_one_size(
    loaded: Loaded,
) -> tuple[tuple[int, int], Iterator[tuple[Tensor, Tensor]]]:
    """Return height and width of the images, and the batches.

    Raises:
        ValueError: If a later batch has images of another size.
    """
    batches = iter(loaded)
    first = next(batches)
    height, width = first[0].shape[2:]

    def checked() -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in itertools.chain([first], batches):
            if tuple(images.shape[2:]) != (height, width):
                raise ValueError(
                    f"a batch has images of {tuple(images.shape[2:])}, the first one "
                    f"had {(height, width)}; expected one size, as strengths mean "
                    "something else at another. Resize them."
                )
            yield images, labels

    return (height, width), checked()


def stacked(results: Sequence[Verdict], names: Iterable[str]) -> Tensor:
    """Return flags of all batches, of shape (names, N)."""
    return torch.stack(
        [torch.cat([result.flags[name] for result in results]) for name in names]
    )
