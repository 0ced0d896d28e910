"""`lightly-adv transfer`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import nn

from lightly_adv.attacks import PGD
from lightly_adv.cli import console, networks
from lightly_adv.cli.evaluation import EvaluationCommand
from lightly_adv.cli.networks import Network
from lightly_adv.evaluation import TransferReport, formatting, measure_transfer


class Transfer(EvaluationCommand[TransferReport]):
    r"""Measure how far perturbations made for one task, or classifier, mislead others.

    Images are perturbed for each model in turn and shown to all of them. The models are
    the pretext tasks of pre-trained checkpoints, where an ensemble brings all of its
    tasks, or the classifiers of fine-tuned ones. The data are those of the first run;
    options of the data change them. The attack starts at the image, without noise, so
    that the cosines between perturbations depend on the models alone.

    Examples:
      lightly-adv transfer runs/ensemble/checkpoints/last.ckpt --eps 8/255
      lightly-adv transfer runs/{rotation,jigsaw,selfie}/checkpoints/best-robust.ckpt
      lightly-adv transfer runs/{rotation,jigsaw}/checkpoints/last.ckpt --steps 50 \
        --data ImageFolderDataModule --data.root OTHER_IMAGES --out transfer.json
    """

    name = "transfer"
    seeded = "the questions of pretext tasks"
    several = True
    has_threat_model = True
    other_endings = (".png",)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the steps."""
        steps = "steps of the attack, each of eps / 4; default: 20"
        parser.add_argument("--steps", type=int, default=20, help=steps)

    @cached_property
    def models(self) -> dict[str, nn.Module]:
        """The models to compare, named after their runs."""
        return _models(self.networks)

    def title(self) -> str:
        """Name models and threat model."""
        return (
            f"{self.name} {' '.join(self.models)} {formatting.ball(self.threat_model)}"
        )

    def evaluate(self, loader: Iterable[Any], **options: Any) -> TransferReport:
        """Perturb the images for each model, and show them to all."""
        attack = PGD(self.threat_model, steps=self.options.steps, random_start=False)
        return measure_transfer(self.models, loader, attack, **options)

    def text(self, report: TransferReport) -> str:
        """Return both matrices as tables."""
        accuracies = [report.clean_accuracy, *report.accuracy]
        cosines = [[f"{value:.2f}" for value in row] for row in report.cosine]
        return "\n".join(
            [
                f"accuracy in percent ({report.label})",
                _table("perturbed for", report.names, ["-", *report.names], accuracies),
                "cosine between perturbations",
                _table("made for", report.names, report.names, cosines),
            ]
        )


run = Transfer.run


def _models(restored: Sequence[Network]) -> dict[str, nn.Module]:
    classifiers = [each for each in restored if each.num_classes is not None]
    pretrained = [each for each in restored if each.num_classes is None]
    if classifiers and pretrained:
        raise ValueError(
            f"{classifiers[0].weights} is a classifier, {pretrained[0].weights} is "
            "not; compare either fine-tuned or pre-trained checkpoints."
        )
    if classifiers:
        networks.check_classifiers(classifiers)
    models: dict[str, nn.Module] = {}
    names = _names(restored)
    for name, network in zip(names, restored, strict=True):
        models |= _models_in(network, name, is_alone=len(restored) == 1)
    if len(models) < 2:
        raise ValueError(
            f"{restored[0].weights} brings one model, {next(iter(models))!r}; expected "
            "at least two, between which perturbations can be transferred. Give "
            "another checkpoint, too: one is enough only for a pretext ensemble."
        )
    return models


def _models_in(network: Network, name: str, *, is_alone: bool) -> dict[str, nn.Module]:
    """Return the classifier, or the pretext tasks, of a network."""
    if network.num_classes is not None:
        return {name: network.module}
    tasks = getattr(network.module, "tasks", None)
    if not isinstance(tasks, Mapping):
        raise ValueError(
            f"{network.weights} is a {type(network.module).__name__}; expected the "
            "checkpoint of a module with pretext tasks, or of a fine-tuned classifier."
        )
    if len(tasks) == 1:
        return {name: next(iter(tasks.values()))}
    prefix = "" if is_alone else f"{name} "
    return {f"{prefix}{task_name}": task for task_name, task in tasks.items()}


def _names(restored: Sequence[Network]) -> list[str]:
    """Name networks by the folders of their runs, as shortly as can be."""
    folders = [network.folder.resolve() for network in restored]
    candidates = (
        [folder.name for folder in folders],
        [f"{f.name}/{n.name}" for f, n in zip(folders, restored, strict=True)],
        [f"{folder.parent.name}/{folder.name}" for folder in folders],
    )
    for names in candidates:
        if len(set(names)) == len(names):
            return names
    return [str(network.weights) for network in restored]


def _table(
    corner: str,
    columns: Sequence[str],
    names: Sequence[str],
    matrix: Sequence[Sequence[object]],
) -> str:
    return console.table(
        [
            {corner: name, **dict(zip(columns, values, strict=True))}
            for name, values in zip(names, matrix, strict=True)
        ]
    )
