"""What an evaluation does, from the loader to verdicts and checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.attacks import Attack, notices
from lightly_adv.evaluation import batches, digests, processes, report, verdicts
from lightly_adv.evaluation.checks import Check, CheckContext, CheckFunction, inspection
from lightly_adv.evaluation.checks.check import name_of
from lightly_adv.evaluation.checks.sample import Sample
from lightly_adv.evaluation.overshoot import Overshoot
from lightly_adv.evaluation.run import Run
from lightly_adv.evaluation.state import State
from lightly_adv.evaluation.suites import Suite
from lightly_adv.evaluation.verdicts import Verdict
from lightly_adv.threat_model import ThreatModel


class Outcome(NamedTuple):
    """What came of an evaluation."""

    verdicts: list[Verdict]
    """On all batches, in order, also on those of other processes."""

    data_digest: str
    """Digest of all images and labels."""

    batch_size: int
    """Size of the largest batch."""

    checks: list[Check]
    """What the checks have found."""

    warnings: list[str]
    """What the images cast doubt on."""


@dataclass(frozen=True, eq=False)
class Plan:
    """One evaluation of one model; see `evaluate_robustness` for the arguments."""

    model: nn.Module
    threat_model: ThreatModel
    suite: Suite
    checks: Sequence[CheckFunction[CheckContext]]
    surrogate: nn.Module | None
    device: torch.device
    seed: int
    progress: bool

    @cached_property
    def attacks(self) -> dict[str, Attack]:
        """The attacks of the suite."""
        return self.suite.create_attacks(self.threat_model)

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The numbers that each attack runs with."""
        return {name: each.settings() for name, each in self.attacks.items()}

    def carry_out(
        self, loader: Iterable[Any], state: str | os.PathLike[str] | None
    ) -> Outcome:
        """Return the verdicts on all batches, and what the checks have found."""
        kept = self._state(state)
        overshoot = Overshoot(self.threat_model)
        with ExitStack() as stack:
            # What the report warns of, over all images, is not said batch by batch.
            stack.enter_context(notices.once({"overshoot"}))
            model = self._undisturbed(self.model, stack)
            surrogate = None
            if self.surrogate is not None:
                surrogate = self._undisturbed(self.surrogate, stack)
            run = Run(
                model,
                self.attacks,
                device=self.device,
                seed=self.seed,
                state=kept,
                surrogate=surrogate,
            )
            sample, limit = Sample(), self.suite.max_samples
            total = batches.count(loader, limit)
            bar = self._bar(total=total, unit="images", desc="attacked")
            images = overshoot.of(sample.of(_images(loader, limit)))
            found = run.over(images, bar)
            context = partial(self._context, sample, model, surrogate)
            checks = self._checked(context, found, kept, run.data_digest)
            return Outcome(
                found, run.data_digest, sample.batch_size, checks, overshoot.warnings()
            )

    def _undisturbed(self, model: nn.Module, stack: ExitStack) -> nn.Module:
        return stack.enter_context(
            verdicts.undisturbed(model, device=self.device, seed=self.seed)
        )

    def _checked(
        self,
        context: Callable[[Mapping[str, Tensor]], CheckContext],
        found: Sequence[Verdict],
        kept: State | None,
        data: str,
    ) -> list[Check]:
        """Return what the checks find on the sample, in this process or another."""
        names = [name_of(check) for check in self.checks]

        def look() -> list[Check]:
            known = kept.find_checks(names, data) if kept is not None else None
            if known is not None:
                return known
            flags = verdicts.joined([each.flags for each in found])
            bar = self._bar(total=len(names), unit="checks", desc="checked")
            done = inspection.inspect(context(flags), self.checks, bar)
            if kept is not None:
                kept.add_checks(done, data)
            return done

        return processes.by_the_first(look) if names else []

    def _context(
        self,
        sample: Sample,
        model: nn.Module,
        surrogate: nn.Module | None,
        flags: Mapping[str, Tensor],
    ) -> CheckContext:
        images, labels = (each.to(self.device) for each in sample.batch())
        worst = list(flags.values())[-1]
        correct, robust = (
            flag[sample.places].to(self.device) for flag in (flags["clean"], worst)
        )
        return CheckContext(
            model=model,
            images=images,
            labels=labels,
            correct=correct,
            robust=robust,
            threat_model=self.threat_model,
            attacks=self.attacks,
            seed=self.seed,
            batch_size=sample.batch_size,
            surrogate=surrogate,
        )

    def _state(self, path: str | os.PathLike[str] | None) -> State | None:
        """Return the state of this evaluation in this process, if it is to be kept."""
        if path is None:
            return None
        rank, size = processes.rank_and_size()
        identity = {
            "model": digests.of_model(self.model),
            "suite": self.suite.name,
            "attacks": self.settings,
            "threat model": report.describe_threat_model(self.threat_model),
            "seed": self.seed,
        }
        if self.surrogate is not None:
            identity["surrogate"] = digests.of_model(self.surrogate)
        return State(Path(f"{path}.{rank}" if size > 1 else path), identity)

    def _bar(self, **options: Any) -> tqdm[Any]:
        shown = self.progress and processes.rank_and_size()[0] == 0
        return tqdm(disable=not shown, **options)


def _images(
    loader: Iterable[Any], limit: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels, no more than `limit` of them."""
    left = limit
    for batch in loader:
        images, labels = (each[:left] for each in verdicts.unpack(batch))
        if len(images):
            yield images, labels
        if left is not None:
            left -= len(images)
            if left == 0:
                return
