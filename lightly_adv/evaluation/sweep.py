"""Accuracy under several changes to the images, each at several levels."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lightly_adv.evaluation import batches, classification, encoding, statistics
from lightly_adv.evaluation.batches import Batch, BatchResult
from lightly_adv.evaluation.confirmation import Shown
from lightly_adv.evaluation.encoding import Flags
from lightly_adv.evaluation.evaluation import Evaluation
from lightly_adv.evaluation.report import Report
from lightly_adv.models.normalization import on_pixels
from lightly_adv.types import NormalizeStats

Loaded: TypeAlias = Iterable[tuple[Tensor, Tensor]]

Change: TypeAlias = Callable[[nn.Module, Batch, int], Callable[[str, int], Tensor]]
"""From a model on pixels, a batch and the number of classes to what changes its images,
pixels in [0, 1]: a function of the name of a change and the number of its level."""


class Sweep(NamedTuple):
    """What a sweep has found.

    Args:
        clean: Whether each image is correctly classified as it is, of shape (N,).
        flags: The same under each change, by its name, of shape (levels, N).
        image_size: Height and width of the images.
        num_classes: Number of classes that the model tells apart.
        probabilities: Whether the model returned probabilities for all batches.
    """

    clean: Tensor
    flags: dict[str, Tensor]
    image_size: tuple[int, int]
    num_classes: int
    probabilities: bool


def run(
    evaluation: Evaluation,
    loader: Iterable[Any],
    levels: Mapping[str, int],
    change: Change,
    *,
    normalize: NormalizeStats | None,
    check: Callable[[Batch], None],
    description: str,
) -> Sweep:
    """Show the images of a loader under all changes.

    Args:
        evaluation: The evaluation of a classifier.
        loader: Batches (images, labels, ...), with images of one size.
        levels: At how many levels each change is made, by its name.
        change: Makes the changes.
        normalize: Mean and std that the transform of the loader has normalised with.
        check: Validates a batch of pixels before it is changed.
        description: What the progress bar says.

    Raises:
        ValueError: If images differ in size, or if there is none.
        UnconfirmedError: If the model does not repeat its answers.
    """
    kinds = [(name, level) for name, count in levels.items() for level in range(count)]
    device, limit = evaluation.device, evaluation.max_samples
    with evaluation.isolated() as models:
        model = on_pixels(models["model"], normalize, device=device)

        def measure(batch: Batch) -> BatchResult:
            check(batch)
            return _measured(model, batch, kinds, change, evaluation.describe)

        size, loaded = _of_one_size(
            batches.load(loader, device=device, limit=limit, normalize=normalize)
        )
        results = evaluation.run(
            loaded,
            measure,
            description=description,
            total=batches.count(loader, limit),
        )
    flags = batches.joined([result.flags for result in results])
    values = batches.joined([result.values for result in results])
    return Sweep(
        flags["clean"],
        {
            name: torch.stack([flags[_key(name, level)] for level in range(count)])
            for name, count in levels.items()
        },
        size,
        int(values["classes"][0]),
        bool(values["probabilities"].all()),
    )


def _measured(
    model: nn.Module,
    batch: Batch,
    kinds: list[tuple[str, int]],
    change: Change,
    describe: Callable[[str], None],
) -> BatchResult:
    """Return which images of a batch are correctly classified in all ways."""
    labels = batch.labels
    clean = classification.attack_batch(model, batch.images, labels, {}, key=batch.key)
    flags, shown = dict(clean.flags), Shown(batch.images)
    changed = change(model, batch, int(clean.values["classes"]))
    for kind, (name, level) in enumerate(kinds):
        describe(_key(name, level))
        images = changed(name, level)
        logits = classification.checked_logits(model(images), labels)
        shown.take_turns(images, logits, kind=kind, kinds=len(kinds), shift=batch.index)
        flags[_key(name, level)] = logits.argmax(dim=1) == labels
    shown.confirm(model)
    return BatchResult(flags, clean.values)


def _key(name: str, level: int) -> str:
    return f"{name}, level {level + 1}"


def _of_one_size(
    loaded: Loaded,
) -> tuple[tuple[int, int], Iterator[tuple[Tensor, Tensor]]]:
    """Return height and width of the images, and the batches.

    Raises:
        ValueError: If a later batch has images of another size.
    """
    remaining = iter(loaded)
    first = next(remaining)
    height, width = first[0].shape[2:]

    def checked() -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in itertools.chain([first], remaining):
            if tuple(images.shape[2:]) != (height, width):
                raise ValueError(
                    f"a batch has images of {tuple(images.shape[2:])}, the first one "
                    f"had {(height, width)}; expected one size, as strengths mean "
                    "something else at another. Resize them."
                )
            yield images, labels

    return (height, width), checked()


@dataclass(frozen=True, eq=False, kw_only=True)
class SweepReport(Report):
    """Accuracy under each of several changes, at several levels.

    Args:
        clean: Whether each image is correctly classified as it is, of shape (N,).
        flags: By name of the change, whether each image is correctly classified under
            it, of shape (levels, N).
        image_size: Height and width of the images.

    Raises:
        ValueError: If flags are not about the same images.
    """

    clean: Flags
    flags: Mapping[str, Flags]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        """Validate the arguments."""
        count = len(self.clean)
        if not count or not self.flags:
            raise ValueError("flags: expected one or more images and changes")
        for name, flags in self.flags.items():
            if flags.dim() != 2 or not len(flags) or flags.shape[1] != count:
                raise ValueError(
                    f"flags.{name} has shape {tuple(flags.shape)}, expected a row of "
                    f"{count} for each level"
                )

    @property
    @abstractmethod
    def suite(self) -> str:
        """What the mean accuracy is a mean of."""

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.clean)

    @property
    def clean_accuracy(self) -> float:
        """Share of images that are correctly classified as they are, in percent."""
        return statistics.percent(self.clean)

    @property
    def accuracies(self) -> dict[str, tuple[float, ...]]:
        """By change, the accuracy at each level, in percent."""
        return {
            name: tuple(statistics.percent(level) for level in flags)
            for name, flags in self.flags.items()
        }

    @property
    def means(self) -> dict[str, float]:
        """By change, the mean accuracy over its levels, in percent."""
        return {name: statistics.mean(x) for name, x in self.accuracies.items()}

    @property
    def mean_accuracy(self) -> float:
        """Mean over changes of the mean over their levels, in percent."""
        return statistics.mean(list(self.means.values()))

    def numbers(self) -> dict[str, Any]:
        """Return clean accuracy and means; robust is the mean over all changes."""
        return {
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.mean_accuracy,
            **{f"{member}_accuracy": mean for member, mean in self.means.items()},
            "suite": self.suite,
        }

    def details(self, name: str) -> dict[str, Any]:
        """Return what else is said of a change in the JSON."""
        del name
        return {}

    def derived(self) -> dict[str, Any]:
        """Return accuracies with intervals."""
        return {
            "clean_interval": statistics.interval(self.clean),
            "members": [
                {
                    "name": name,
                    "accuracies": list(values),
                    "intervals": [statistics.interval(x) for x in self.flags[name]],
                    **self.details(name),
                }
                for name, values in self.accuracies.items()
            ],
        }

    @classmethod
    def in_order(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON with the flags in the order of the members."""
        members = encoding.decode(
            list[Mapping[str, Any]], content.get("members"), "members"
        )
        flags = encoding.decode(Mapping[str, Any], content.get("flags"), "flags")
        names = [member.get("name") for member in members]
        if set(names) != set(flags):
            raise ValueError(f"members has {names}, expected the names in flags")
        return {**content, "flags": {name: flags[name] for name in names}}
