"""A few images of an evaluation, attacked again to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.attacks import ClassificationObjective
from lightly_adv.evaluation import batches
from lightly_adv.evaluation.isolated_model import isolated, to_device
from lightly_adv.evaluation.robustness_report import RobustnessReport
from lightly_adv.evaluation.suites import Suite
from lightly_adv.functional import pixels
from lightly_adv.isolation import rng
from lightly_adv.threat_model import ThreatModel

MISLED = 6
"""How many images to choose, at most, on which an attack misleads the model."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image before and after an attack.

    Args:
        number: Its index in the evaluation.
        attack: Name of the attack.
        label: True class.
        clean_prediction: Predicted class without an attack.
        attacked_prediction: Predicted class under attack.
        clean: Pixels (C, H, W) in [0, 1].
        attacked: Pixels under attack, of the same shape.
    """

    number: int
    attack: str
    label: int
    clean_prediction: int
    attacked_prediction: int
    clean: Tensor
    attacked: Tensor

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pixels, ready for JSON."""
        pixels = ("clean", "attacked")
        return {key: value for key, value in vars(self).items() if key not in pixels}


def choose(report: RobustnessReport, count: int) -> list[int]:
    """Choose images: most of them misclassified under attack, some robust.

    Args:
        report: The report of the evaluation.
        count: How many to choose, if there are as many.

    Returns:
        Sorted indices of the first images of each kind.
    """
    clean, worst = report.flags["clean"], list(report.flags.values())[-1]
    misled, robust, wrong = (
        kind.nonzero().flatten().tolist() for kind in (clean & ~worst, worst, ~clean)
    )
    first = min(MISLED, count)
    order = misled[:first] + robust + misled[first:] + wrong
    return sorted(order[:count])


def attack_again(
    model: nn.Module,
    loader: Iterable[Any],
    report: RobustnessReport,
    suite: Suite,
    *,
    count: int = 8,
    device: str | torch.device | None = None,
) -> list[Example]:
    """Attack a few images again, each by the first attack that misled the model.

    Robust images are shown after the first attack of the suite. The noise is another
    one than in the evaluation, so that the result may differ.

    Args:
        model: See `evaluate_robustness`.
        loader: The batches that the report is about.
        report: The report of the evaluation.
        suite: The suite that was run.
        count: How many images.
        device: Where to attack.

    Raises:
        ValueError: If the loader does not yield the images of the report.
    """
    where = to_device({"model": model}, device)
    chosen = choose(report, count)
    attacks = suite.create_attacks(report.threat_model)
    groups: dict[str, list[int]] = {}
    for index, number in enumerate(chosen):
        groups.setdefault(_attack_of(report, number), []).append(index)
    examples: list[Example] = []
    with isolated(model, device=where, seed=report.seed) as isolated_model:
        # In here, so that a loader that shuffles does so as in the evaluation.
        images, labels = _images(loader, chosen)
        _check(labels, chosen, report)
        for name, indices in groups.items():
            clean, classes = images[indices].to(where), labels[indices].to(where)
            generator = rng.batch_generator(report.seed, chosen[indices[0]])
            objective = ClassificationObjective(isolated_model, classes)
            (attacked,) = attacks[name](objective, [clean], generator=generator)
            both = (clean, attacked)
            predictions = [isolated_model(batch).argmax(dim=1) for batch in both]
            numbers = [chosen[index] for index in indices]
            facts = (each.tolist() for each in (classes, *predictions))
            shown = (_to_pixels(batch, report.threat_model) for batch in both)
            examples += [
                Example(number, name, *rest)
                for number, *rest in zip(numbers, *facts, *shown, strict=True)
            ]
    return sorted(examples, key=lambda example: example.number)


def _to_pixels(images: Tensor, threat_model: ThreatModel) -> Tensor:
    """Return pixels in [0, 1], whatever the bounds are."""
    shown = pixels.to_pixels(images.float().cpu(), threat_model.normalize)
    low, high = threat_model.bounds
    return ((shown - low) / (high - low)).clamp(0, 1)


def _attack_of(report: RobustnessReport, number: int) -> str:
    """Return the first attack that misled the model on an image, or the first one."""
    clean, *attacks = report.flags
    if report.flags[clean][number]:
        for name in attacks:
            if not report.flags[name][number]:
                return name
    return attacks[0]


def _check(labels: Tensor, chosen: Sequence[int], report: RobustnessReport) -> None:
    """Raise if the labels are not those of the report."""
    if report.labels is None:
        return
    expected = report.labels[list(chosen)].tolist()
    for number, label, known in zip(chosen, labels.tolist(), expected, strict=True):
        if label != known:
            raise ValueError(
                f"image {number} of the loader is of class {label}, that of the "
                f"report of class {known}; expected the same images in the same "
                "order. Use a loader with shuffle=False, or without a generator of its "
                "own, which continues where the evaluation left it."
            )


def _images(loader: Iterable[Any], chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return images and labels by their indices; stop after the last one."""
    pairs = list(_pairs(loader, set(chosen)))
    if len(pairs) < len(chosen):
        raise ValueError(
            f"the loader has no image {chosen[len(pairs)]}, which the report has; "
            "expected the same images. Is it an exhausted iterator?"
        )
    images, labels = zip(*pairs, strict=True)
    return torch.stack(images), torch.stack(labels).long()


def _pairs(loader: Iterable[Any], chosen: set[int]) -> Iterator[tuple[Tensor, Tensor]]:
    number = 0
    for batch in loader:
        images, labels = batches.unpack(batch)
        for image, label in zip(images, labels, strict=True):
            if number in chosen:
                # A copy: attacks do not take tensors created in inference mode.
                yield image.clone(), label.clone()
            number += 1
        if number > max(chosen):
            return
