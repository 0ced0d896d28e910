"""`lightly-adv corruptions`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lightly_adv.cli import console, loaders, networks
from lightly_adv.cli.evaluation import EvaluationCommand
from lightly_adv.evaluation import CorruptionReport, evaluate_corruptions
from lightly_adv.evaluation.corruptions import CifarC, list_corruptions
from lightly_adv.evaluation.corruptions.corruption import (
    SEVERITIES,
    check_severities,
    resolve,
)


class Corruptions(EvaluationCommand[CorruptionReport]):
    r"""Measure accuracy of a classifier under noise, blur, weather and compression.

    The test images of the run that the checkpoint lies in are corrupted as they come;
    options of the data change them. The table has the accuracy at each severity in
    percent. With --cifar_c the corrupted images are those of the published CIFAR-10-C
    or CIFAR-100-C, and the data have to be the test set in its own order. The same
    command resumes an interrupted evaluation; only the current batch is lost.

    Examples:
      lightly-adv corruptions runs/finetune/checkpoints/best-robust.ckpt
      lightly-adv corruptions runs/finetune --severities 1 3 5 --corruptions fog snow \
        --max_samples 1000
      lightly-adv corruptions runs/finetune --cifar_c CIFAR-10-C
    """

    name = "corruptions"
    seeded = "what is drawn"
    resumable = True
    other_endings = (".md", ".png")

    def __init__(self, options: argparse.Namespace, others: Sequence[str]) -> None:
        names = options.corruptions
        is_group = names in (["common"], ["all"])
        self.corruptions = resolve(names[0] if is_group else names)
        self.severities = check_severities(options.severities)
        self.files = None if options.cifar_c is None else CifarC(options.cifar_c)
        super().__init__(options, others)
        networks.check_classifiers(self.networks)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the corruptions, their severities, and published files."""
        add = parser.add_argument
        names = ", ".join(list_corruptions())
        add(
            "--corruptions",
            nargs="+",
            default=["common"],
            metavar="NAME",
            help=f"common, all, or some of {names}; default: common",
        )
        add(
            "--severities",
            nargs="+",
            type=int,
            default=list(SEVERITIES),
            metavar="N",
            help="default: 1 2 3 4 5",
        )
        add("--cifar_c", type=Path, help="folder of CIFAR-10-C or CIFAR-100-C")

    @cached_property
    def images(self) -> tuple[Iterable[Any], str]:
        """The test images; published files need them in their own order."""
        if self.files is None:
            return super().images
        return loaders.as_they_come(self.network.data)

    def title(self) -> str:
        """Name what differs from the usual."""
        options = self.options
        parts = [self.name, self.network.name]
        if options.cifar_c is not None:
            parts.append(options.cifar_c.resolve().name)
        if options.corruptions != ["common"]:
            parts += options.corruptions
        if options.severities != list(SEVERITIES):
            parts.append(f"at {' '.join(map(str, options.severities))}")
        if options.max_samples is not None:
            parts.append(f"{options.max_samples} images")
        return " ".join(parts)

    def evaluate(self, loader: Iterable[Any], **options: Any) -> CorruptionReport:
        """Corrupt the images, and classify them."""
        return evaluate_corruptions(
            self.network.module,
            loader,
            self.corruptions,
            severities=self.severities,
            files=self.files,
            **options,
        )

    def text(self, report: CorruptionReport) -> str:
        """Return the accuracies as a table, and the line with the means."""
        return f"{console.table(report.table())}\n{report}"


run = Corruptions.run
