"""`lightly-adv evaluate`."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightly_adv.cli import networks
from lightly_adv.cli.evaluation import EvaluationCommand
from lightly_adv.cli.networks import Network
from lightly_adv.evaluation import (
    ResultCard,
    Suite,
    create_suite,
    evaluate_robustness,
    formatting,
    list_suites,
    make_card,
    suites,
)
from lightly_adv.models import Ensemble

CURVE_SAMPLES = 128
"""On how many images the curves are measured, if nothing else is asked for."""


class Evaluate(EvaluationCommand[ResultCard]):
    """Measure clean and robust accuracy of a classifier, or of an ensemble of several.

    The network and the data are those of the run that the checkpoint lies in; options
    of the data change them. Several checkpoints are attacked as one ensemble, which
    answers with the mean of their probabilities, on the data of the first one. Test
    images are taken from the classes in turn, so that --max_samples gives images of all
    classes. The same command resumes an interrupted evaluation. With --surrogate, one
    of the checks is whether perturbations made for that classifier mislead this one.

    Examples:
      lightly-adv evaluate runs/finetune/checkpoints/best-robust.ckpt
      lightly-adv evaluate runs/finetune --norm L2 --eps 0.5
      lightly-adv evaluate runs/finetune --suite apgd --restarts 3
      lightly-adv evaluate runs/finetune --data.root OTHER_IMAGES
      lightly-adv evaluate runs/{rotation,jigsaw,selfie}/checkpoints/best-robust.ckpt
      lightly-adv evaluate runs/finetune --surrogate runs/standard
    """

    name = "evaluate"
    seeded = "the noise of the attacks"
    several = True
    has_threat_model = True
    resumable = True
    other_endings = (".html", ".md")

    def __init__(self, options: argparse.Namespace, others: Sequence[str]) -> None:
        super().__init__(options, others)
        networks.check_classifiers(self.networks)
        members = [network.module for network in self.networks]
        self.model = members[0] if len(members) == 1 else Ensemble(members)
        self.suite = _suite(options.suite, options.restarts)
        self.surrogate = self._surrogate()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the suite, and what else the card takes."""
        add = parser.add_argument
        add("--suite", default="pgd-20", help=f"one of {', '.join(list_suites())}")
        add("--restarts", type=int, help="how often to run each attack; default: 1")
        add(
            "--surrogate",
            type=Path,
            metavar="RUN",
            help="another classifier of the same classes, best one trained on clean "
            "images, for the check named transfer; default: none, which skips it",
        )
        add(
            "--curve_samples",
            type=int,
            help="on how many images to measure curves over eps and steps; 0 leaves "
            f"them out; default: {CURVE_SAMPLES}, with the suite smoke 0",
        )

    @property
    def who(self) -> str:
        """What the card calls the model."""
        count = len(self.networks)
        return self.network.name if count == 1 else f"ensemble of {count}"

    def title(self) -> str:
        """Name model, suite and threat model."""
        ball = formatting.ball(self.threat_model)
        return f"evaluation {self.who}, {self.suite.name}, {ball}"

    def evaluate(self, loader: Iterable[Any], **options: Any) -> ResultCard:
        """Attack the images, and measure what else the card shows."""
        report = evaluate_robustness(
            self.model,
            loader,
            self.threat_model,
            suite=self.suite,
            surrogate=self.surrogate.module if self.surrogate else None,
            **options,
        )
        del options["seed"], options["max_samples"]  # are in the report
        options["state"] = f"{options['state']}.curve"
        return make_card(
            self.model,
            loader,
            report,
            suite=self.suite,
            name=self.who,
            class_names=self.network.class_names,
            curve_samples=self._curve_samples(),
            facts=self.facts,
            **options,
        )

    def text(self, report: ResultCard) -> str:
        """Return both accuracies, with warnings and notes."""
        return str(report.report)

    def content(self, report: ResultCard) -> Mapping[str, Any]:
        """Return all of the card but the images."""
        return report.to_dict()

    @property
    def facts(self) -> dict[str, Any]:
        """What the report is about, and what it was attacked by."""
        if self.surrogate is None:
            return super().facts
        return super().facts | {
            "surrogate_sha256": networks.sha256_of([self.surrogate])
        }

    def _curve_samples(self) -> int:
        if self.options.curve_samples is not None:
            return int(self.options.curve_samples)
        return 0 if self.suite.name == "smoke" else CURVE_SAMPLES

    def _surrogate(self) -> Network | None:
        """Return the classifier that one of the checks attacks instead, if any."""
        path: Path | None = self.options.surrogate
        if path is None:
            return None
        surrogate = networks.restore(path, self.others)
        files = {each.weights.resolve() for each in self.networks}
        if surrogate.weights.resolve() in files:
            raise ValueError(
                f"--surrogate {path} is what is evaluated; give another classifier, "
                "best one that was trained on clean images."
            )
        if not self.suite.checks:
            raise ValueError(
                f"the suite {self.suite.name!r} has no checks, and --surrogate is for "
                "one of them; choose another --suite, or leave it out."
            )
        networks.check_classifiers([*self.networks, surrogate])
        return surrogate


run = Evaluate.run


def _suite(name: str, restarts: int | None) -> Suite:
    """Create a suite, with restarts if they are given."""
    if restarts is None:
        return create_suite(name)
    if "restarts" not in inspect.signature(suites.REGISTRY.load(name)).parameters:
        raise ValueError(
            f"the suite {name!r} has no --restarts; leave it out, or take another "
            "suite, such as --suite pgd-20."
        )
    return create_suite(name, restarts=restarts)
