"""One run of APGD over a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from lightly_adv.attacks.attack import Track
from lightly_adv.attacks.classification import ClassificationObjective
from lightly_adv.attacks.step_control import StepControl
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Objective, Views

MOMENTUM = 0.25
"""Share of the last move in the next one."""

Gradients: TypeAlias = Callable[
    [Objective, list[Track]], tuple[Tensor, list[Tensor | None]]
]


@dataclass
class BestSoFar:
    """How far a run has come."""

    deltas: list[Tensor]
    """The perturbation of every view: the first that broke the sample, or the best."""

    losses: Tensor
    """The objective there, of shape (B,), also where it is a scalar."""

    broken: Tensor
    """Which samples are misclassified, of shape (B,)."""

    def better(self, other: BestSoFar) -> BestSoFar:
        """Return the best of this run and another one on the same samples."""
        gain = ~self.broken & (other.broken | (other.losses > self.losses))
        return BestSoFar(
            [
                _where(gain, new, old)
                for old, new in zip(self.deltas, other.deltas, strict=True)
            ],
            torch.where(gain, other.losses, self.losses),
            torch.where(gain, other.broken, self.broken),
        )

    def better_in(self, rows: Tensor, other: BestSoFar) -> BestSoFar:
        """Return the best of this run and one on some of its samples.

        Args:
            rows: The numbers of these samples.
            other: The run on them.
        """
        best = self._of(rows).better(other)
        return BestSoFar(
            [
                old.index_copy(0, rows, new)
                for old, new in zip(self.deltas, best.deltas, strict=True)
            ],
            self.losses.index_copy(0, rows, best.losses),
            self.broken.index_copy(0, rows, best.broken),
        )

    def _of(self, rows: Tensor) -> BestSoFar:
        deltas = [delta[rows] for delta in self.deltas]
        return BestSoFar(deltas, self.losses[rows], self.broken[rows])


class APGDRun:
    """Ascent with momentum, which samples leave when they are misclassified.

    Args:
        objective: What to raise. Samples can leave a `ClassificationObjective` only.
        tracks: The views, with the perturbations to start from.
        threat_model: What may be done to them.
        gradients: Evaluates and differentiates the objective at the tracks.
    """

    def __init__(
        self,
        objective: Objective,
        tracks: list[Track],
        *,
        threat_model: ThreatModel,
        gradients: Gradients,
    ) -> None:
        self._objective = objective
        self._tracks = tracks
        self._threat_model = threat_model
        self._gradients = gradients
        first = tracks[0].delta
        count = len(first)
        self._rows = torch.arange(count, device=first.device)
        self._found = BestSoFar(
            [track.delta.clone() for track in tracks],
            first.new_full((count,), -torch.inf),
            torch.zeros(count, dtype=torch.bool, device=first.device),
        )

    def run(self, *, steps: int, step_size: float) -> BestSoFar:
        """Take the steps, as long as there are samples left.

        Args:
            steps: Number of steps.
            step_size: Length of the first step, in pixels.
        """
        losses, grads = self._evaluate()
        for track, grad in zip(self._tracks, grads, strict=True):
            if grad is not None:
                start = {"last": track.delta, "best": track.delta}
                track.memory = {**start, "grad": grad, "best_grad": grad}
        control = StepControl(losses, steps=steps, step_size=step_size)
        for step in range(1, steps + 1):
            if not len(self._rows):
                return self._found
            self._move(control.step_size, momentum=MOMENTUM if step > 1 else 0.0)
            losses, grads = self._evaluate(control)
            better, halved = control.observe(losses), control.halve(step)
            for track, grad in zip(self._tracks, grads, strict=True):
                if grad is not None:
                    _judge(track, grad, better, halved)
        for full, track in zip(self._found.deltas, self._tracks, strict=True):
            full[self._rows] = track.memory.get("best", track.delta)
        self._found.losses[self._rows] = control.best
        return self._found

    def _move(self, step_size: Tensor, *, momentum: float) -> None:
        model = self._threat_model
        for track in self._tracks:
            if track.memory:  # else the objective does not depend on this view
                delta, memory = track.delta, track.memory
                ahead = model.ascend(
                    delta, memory["grad"], track.box, step_size=step_size
                )
                step = (1 - momentum) * (ahead - delta)
                step += momentum * (delta - memory["last"])
                memory["last"] = delta
                track.delta = model.project(delta + step, track.box)

    def _evaluate(
        self, control: StepControl | None = None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return losses and gradients of the samples that are left after this."""
        objective = self._objective
        if not isinstance(objective, ClassificationObjective):
            losses, grads = self._gradients(objective, self._tracks)
            return self._per_sample(losses), grads
        seen: list[Tensor] = []

        def watched(views: Views) -> Tensor:
            seen.append(objective.logits(views))
            return objective.losses(seen[-1])

        losses, grads = self._gradients(watched, self._tracks)
        right = seen[-1].detach().argmax(dim=1) == objective.labels
        losses = self._per_sample(losses)
        if right.all():
            return losses, grads
        self._leave(~right)
        self._objective = objective.subset(right)
        self._tracks = [track.subset(right) for track in self._tracks]
        if control is not None:
            control.keep(right)
        return losses[right], [None if each is None else each[right] for each in grads]

    def _leave(self, wrong: Tensor) -> None:
        """Note where samples were misclassified."""
        rows = self._rows[wrong]
        for full, track in zip(self._found.deltas, self._tracks, strict=True):
            full[rows] = track.delta[wrong]
        self._found.broken[rows] = True
        self._rows = self._rows[~wrong]

    def _per_sample(self, losses: Tensor) -> Tensor:
        """A scalar is the loss of one big sample; float32 tells more losses apart."""
        return losses.reshape(-1).to(self._tracks[0].delta.dtype)


def _judge(track: Track, grad: Tensor, better: Tensor, halved: Tensor | None) -> None:
    """Keep the best point; go back to it where there is no progress."""
    memory = track.memory
    memory["grad"] = grad
    memory["best"] = _where(better, track.delta, memory["best"])
    memory["best_grad"] = _where(better, grad, memory["best_grad"])
    if halved is not None:
        track.delta = _where(halved, memory["best"], track.delta)
        memory["grad"] = _where(halved, memory["best_grad"], grad)


def _where(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Choose by sample."""
    return torch.where(mask.view(-1, *[1] * (new.dim() - 1)), new, old)
