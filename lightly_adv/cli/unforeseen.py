"""`lightly-adv unforeseen`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from lightly_adv.cli import console, networks
from lightly_adv.cli.evaluation import EvaluationCommand
from lightly_adv.evaluation import UnforeseenReport, evaluate_unforeseen
from lightly_adv.evaluation.unforeseen import PUBLISHED
from lightly_adv.evaluation.unforeseen.attack import resolve


class Unforeseen(EvaluationCommand[UnforeseenReport]):
    r"""Measure accuracy under attacks that a classifier was not trained against.

    Each attack is run at six strengths, on the test images of the run that the
    checkpoint lies in; options of the data change them. The table has the accuracy at
    each strength in percent. The same command resumes an interrupted evaluation; only
    the current batch is lost, which --data.batch_size makes smaller.

    Examples:
      lightly-adv unforeseen runs/finetune --max_samples 1000
      lightly-adv unforeseen runs/finetune --attacks fog snow
      lightly-adv unforeseen runs/finetune --steps 20 --max_samples 200 \
        --data.root OTHER_IMAGES
    """

    name = "unforeseen"
    seeded = "starts and targets"
    resumable = True
    other_endings = (".png",)

    def __init__(self, options: argparse.Namespace, others: Sequence[str]) -> None:
        self.attacks = resolve(options.attacks)
        super().__init__(options, others)
        networks.check_classifiers(self.networks)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the attacks and their steps."""
        add = parser.add_argument
        all_of_them = f"default: all of {', '.join(PUBLISHED)}"
        add("--attacks", nargs="+", metavar="NAME", help=all_of_them)
        add("--steps", type=int, default=200, help="gradient steps; default: 200")

    def title(self) -> str:
        """Name what differs from the usual."""
        options = self.options
        parts = [self.name, self.network.name, *(options.attacks or ())]
        if options.steps != 200:
            parts.append(f"{options.steps} steps")
        if options.max_samples is not None:
            parts.append(f"{options.max_samples} images")
        return " ".join(parts)

    def evaluate(self, loader: Iterable[Any], **options: Any) -> UnforeseenReport:
        """Run the attacks."""
        steps = self.options.steps
        return evaluate_unforeseen(
            self.network.module, loader, self.attacks, steps=steps, **options
        )

    def text(self, report: UnforeseenReport) -> str:
        """Return the accuracies as a table, and the summary with its warnings."""
        most = max(len(attack.eps) for attack in report.attacks)
        strengths = {f"eps_{number}": f"eps {number}" for number in range(1, most + 1)}
        columns = {"attack": "attack", **strengths, "mean": "mean", "uar": "UAR"}
        return f"{console.table(report.table(), columns)}\n{report}"


run = Unforeseen.run
