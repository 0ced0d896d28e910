"""APGD: projected gradient ascent that finds its step sizes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from lightly_adv.attacks.apgd_run import APGDRun, BestSoFar
from lightly_adv.attacks.attack import Attack, Track
from lightly_adv.attacks.classification import (
    ClassificationObjective,
    TargetedObjective,
    require,
)
from lightly_adv.types import Norm, Objective

MAX_TARGETS = 9
"""How many wrong classes are aimed at, at most."""


@dataclass(frozen=True)
class APGD(Attack):
    """PGD with momentum, and a step size of its own for every sample.

    The step size starts at 2 eps and is halved where the loss does not rise as it
    should; the sample then goes on from its best point. What comes back is the best
    point of every sample. An objective that returns one scalar is taken for that of one
    big sample.

    Given a `ClassificationObjective`, it leaves an image as soon as it is
    misclassified and spends no more on it, also in later restarts.

    - [0] Reliable evaluation of adversarial robustness with an ensemble of diverse
      parameter-free attacks, 2020, https://arxiv.org/abs/2003.01690

    See `Attack` for the arguments; `step_size` is the length of the first step. It
    defaults to 2 eps.

    Examples:
        >>> import torch
        >>> from lightly_adv import APGD, ThreatModel
        >>> attack = APGD(ThreatModel(norm="L2", eps=0.5), steps=20)
        >>> views = torch.rand(2, 3, 8, 8)
        >>> objective = lambda views: views[0].square().flatten(1).sum(1)
        >>> adversarial, = attack(objective, [views])
        >>> adversarial.shape
        torch.Size([2, 3, 8, 8])
    """

    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")

    steps: int = 100

    @property
    def resolved_step_size(self) -> float:
        """Length of the first step in pixels: `step_size`, or 2 eps."""
        return 2 * self.threat_model.eps if self.step_size is None else self.step_size

    @property
    def evaluations(self) -> int:
        """How often the objective is evaluated to perturb one batch, at most."""
        return self.restarts * (self.steps + 1)

    def maximize(
        self, objective: Objective, tracks: list[Track], generator: Generator
    ) -> list[Tensor]:
        """Run on the samples that are not misclassified yet; see `Attack.maximize`."""
        best: BestSoFar | None = None
        for each in self._objectives(objective, tracks):
            for _ in range(self.restarts):
                for track in tracks:
                    self._start(track, generator)  # the same noise, whoever is left
                best = self._once_more(each, tracks, best)
        if best is None:
            return [track.view for track in tracks]  # there is no wrong class
        for track, delta in zip(tracks, best.deltas, strict=True):
            track.delta = delta
        return self._perturbed(tracks)

    def _objectives(
        self, objective: Objective, tracks: list[Track]
    ) -> Iterator[Objective]:
        """Yield what to raise, one after the other."""
        del tracks
        yield objective

    def _once_more(
        self, objective: Objective, tracks: list[Track], best: BestSoFar | None
    ) -> BestSoFar:
        """Run on all samples that no run has broken so far."""
        if best is None:
            return self._run_apgd(objective, tracks)
        if not isinstance(objective, ClassificationObjective):
            return best.better(self._run_apgd(objective, tracks))
        left = (~best.broken).nonzero().flatten()
        if not len(left):
            return best
        tracks = [track.subset(left) for track in tracks]
        run = self._run_apgd(objective.subset(left), tracks)
        return best.better_in(left, run)

    def _run_apgd(self, objective: Objective, tracks: list[Track]) -> BestSoFar:
        model, gradients = self.threat_model, self._gradients
        run = APGDRun(objective, tracks, threat_model=model, gradients=gradients)
        return run.run(steps=self.steps, step_size=self.resolved_step_size)


@dataclass(frozen=True)
class APGDTargeted(APGD):
    """APGD that aims at one wrong class after the other, the most likely ones first.

    It raises the targeted difference of logits ratio (`losses.targeted_dlr`), which has
    a gradient also where the cross-entropy of a confident classifier has none. It has
    to be given a `ClassificationObjective`, whose model and labels it uses. Up to 9
    classes are aimed at, those whose logits are highest without an attack.

    - [0] Reliable evaluation of adversarial robustness with an ensemble of diverse
      parameter-free attacks, 2020, https://arxiv.org/abs/2003.01690

    See `APGD` for the arguments; `restarts` counts for every class.

    Examples:
        >>> import torch
        >>> from lightly_adv.attacks import ClassificationObjective
        >>> from lightly_adv.threat_model import ThreatModel
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
        >>> objective = ClassificationObjective(model, torch.tensor([0, 3]))
        >>> attack = APGDTargeted(ThreatModel(eps=0.1), steps=20)
        >>> perturbed, = attack(objective, [torch.rand(2, 3, 2, 2)])
        >>> perturbed.shape
        torch.Size([2, 3, 2, 2])
    """

    @property
    def evaluations(self) -> int:
        """How often the objective is evaluated to perturb one batch, at most."""
        return MAX_TARGETS * super().evaluations

    def notes(self, *, classes: int) -> list[str]:
        """Tell what is done in another way for few classes."""
        if classes > MAX_TARGETS:
            return []
        if classes >= 4:
            return [
                f"with {classes} classes {type(self).__name__} aimed at {classes - 1} "
                f"wrong ones instead of {MAX_TARGETS}."
            ]
        instead = (
            "the difference of logits, divided by the span of the three"
            if classes == 3
            else "the plain difference of logits"
        )
        return [
            f"the targeted DLR loss takes 4 classes; with {classes} classes "
            f"{type(self).__name__} raised {instead}."
        ]

    def _objectives(
        self, objective: Objective, tracks: list[Track]
    ) -> Iterator[Objective]:
        known = require(objective, attack=type(self).__name__)
        with torch.no_grad():
            logits = known.logits([track.view for track in tracks])
        wrong = logits.scatter(1, known.labels[:, None], -torch.inf)
        # Nobody is led to a class that the model rules out, by a logit of -inf.
        possible = (wrong > -torch.inf).sum(dim=1).tolist()
        count = min(MAX_TARGETS, max(possible, default=0))
        for targets in wrong.topk(count, dim=1).indices.unbind(1):
            yield TargetedObjective(known.model, known.labels, targets)
