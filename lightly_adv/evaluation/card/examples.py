"""A few images, attacked once more to be looked at."""

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

BROKEN = 6
"""How many of the images are, if there are so many, ones that an attack breaks."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image before and after an attack.

    Args:
        number: Its place in the evaluation, from 0.
        attack: Name of the attack.
        label: Its class.
        clean_prediction: What it is taken for.
        attacked_prediction: What it is taken for under attack.
        clean: Its pixels (C, H, W) in [0, 1].
        attacked: Its pixels under attack.
    """

    number: int
    attack: str
    label: int
    clean_prediction: int
    attacked_prediction: int
    clean: Tensor
    attacked: Tensor

    def to_dict(self) -> dict[str, Any]:
        """Return what is said about the images, ready for JSON."""
        return {
            "number": self.number,
            "attack": self.attack,
            "label": self.label,
            "clean_prediction": self.clean_prediction,
            "attacked_prediction": self.attacked_prediction,
        }


def choose(report: RobustnessReport, count: int) -> list[int]:
    """Choose images: most of them broken by an attack, some that withstand.

    Args:
        report: What is known of the images.
        count: How many to choose, if there are so many.

    Returns:
        Their places in the evaluation, in order, from the first ones of each kind.
    """
    clean, worst = report.flags["clean"], list(report.flags.values())[-1]
    broken, standing, wrong = (
        kind.nonzero().flatten().tolist() for kind in (clean & ~worst, worst, ~clean)
    )
    first = min(BROKEN, count)
    order = broken[:first] + standing + broken[first:] + wrong
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
    """Attack a few images with the attack that had broken each.

    Those that withstand are shown after the first attack of the suite. The noise is
    drawn anew, so that an attack may end elsewhere than it did.

    Args:
        model: See `evaluate_robustness`.
        loader: The batches that the report is about.
        report: What is known of the images.
        suite: The suite that was run.
        count: How many images.
        device: Where to attack.

    Raises:
        ValueError: If the loader does not give the images of the report.
    """
    where = to_device({"model": model}, device)
    chosen = choose(report, count)
    attacks = suite.create_attacks(report.threat_model)
    groups: dict[str, list[int]] = {}
    for row, number in enumerate(chosen):
        groups.setdefault(_attack_of(report, number), []).append(row)
    found: list[Example] = []
    with isolated(model, device=where, seed=report.seed) as isolated_model:
        # In here, so that a loader that shuffles does so as it did in the evaluation.
        images, labels = _images(loader, chosen)
        _check(labels, chosen, report)
        for name, rows in groups.items():
            own, classes = images[rows].to(where), labels[rows].to(where)
            generator = rng.batch_generator(report.seed, chosen[rows[0]])
            objective = ClassificationObjective(isolated_model, classes)
            (attacked,) = attacks[name](objective, [own], generator=generator)
            predictions = [
                isolated_model(each).argmax(dim=1) for each in (own, attacked)
            ]
            numbers = [chosen[row] for row in rows]
            facts = (each.tolist() for each in (classes, *predictions))
            shown = (_to_pixels(each, report.threat_model) for each in (own, attacked))
            found += [
                Example(number, name, *each)
                for number, *each in zip(numbers, *facts, *shown, strict=True)
            ]
    return sorted(found, key=lambda example: example.number)


def _to_pixels(images: Tensor, threat_model: ThreatModel) -> Tensor:
    """Return pixels in [0, 1], whatever the bounds are."""
    shown = pixels.to_pixels(images.float().cpu(), threat_model.normalize)
    low, high = threat_model.bounds
    return ((shown - low) / (high - low)).clamp(0, 1)


def _attack_of(report: RobustnessReport, number: int) -> str:
    """Return the attack that broke an image, or the first one."""
    clean, *attacks = report.flags
    if report.flags[clean][number]:
        for name in attacks:
            if not report.flags[name][number]:
                return name
    return attacks[0]


def _check(labels: Tensor, chosen: Sequence[int], report: RobustnessReport) -> None:
    """Refuse images that the report is not about, as far as labels tell them."""
    if report.labels is None:
        return
    expected = report.labels[list(chosen)].tolist()
    for number, label, known in zip(chosen, labels.tolist(), expected, strict=True):
        if label != known:
            raise ValueError(
                f"image {number} of the loader is of class {label}, that of the "
                f"report of class {known}; expected the same images in the same "
                "order. Give the loader shuffle=False in both, or no generator of its "
                "own, which goes on where the evaluation has left it."
            )


def _images(loader: Iterable[Any], chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return images and labels by their places; stop behind the last one."""
    found = list(_rows(loader, set(chosen)))
    if len(found) < len(chosen):
        raise ValueError(
            f"the loader has no image {chosen[len(found)]}, which the report has; "
            "expected the same images. Is it an iterator that is used up?"
        )
    images, labels = zip(*found, strict=True)
    return torch.stack(images), torch.stack(labels).long()


def _rows(loader: Iterable[Any], chosen: set[int]) -> Iterator[tuple[Tensor, Tensor]]:
    number = 0
    for batch in loader:
        images, labels = batches.unpack(batch)
        for image, label in zip(images, labels, strict=True):
            if number in chosen:
                # A copy: attacks take no tensor that was made in inference mode.
                yield image.clone(), label.clone()
            number += 1
        if number > max(chosen):
            return
