"""The one loop that every attack runs."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, get_args

import torch
from torch import Generator, Tensor

from lightly_adv.attacks import arguments, notices
from lightly_adv.attacks.attack_like import AttackLike
from lightly_adv.attacks.gradients import evaluate, loss_and_gradients
from lightly_adv.functional import deferred, precision
from lightly_adv.isolation import rng
from lightly_adv.threat_model import PerturbationBox, ThreatModel
from lightly_adv.types import Norm, Objective, Views


@dataclass
class Track:
    """One view on its way through the loop."""

    view: Tensor
    box: PerturbationBox
    delta: Tensor
    used: bool = True
    memory: dict[str, Any] = field(default_factory=dict)

    def subset(self, index: Tensor) -> Track:
        """Return some of the samples; what is remembered has to be tensors."""
        box = self.box._replace(
            lower=self.box.lower[index], upper=self.box.upper[index]
        )
        memory = {name: value[index] for name, value in self.memory.items()}
        return Track(self.view[index], box, self.delta[index], self.used, memory)


@dataclass(frozen=True)
class Attack(AttackLike):
    """Projected gradient ascent on an objective, inside a threat model.

    An attack is plain data: it holds no model, device or random state. Subclasses
    choose other defaults, or another `update`.

    - [0] Towards Deep Learning Models Resistant to Adversarial Attacks, 2017,
      https://arxiv.org/abs/1706.06083

    Args:
        threat_model: What may be done to a view.
        steps: Number of gradient steps.
        step_size: Length of a step in pixels, measured in the norm of the threat
            model. Defaults to eps / 4.
        random_start: Start at a random point of the ball, not at the view itself.
        restarts: Number of independent runs, of which the worst result is kept: per
            sample where the objective returns one value per sample, else per batch.
        start_std: Where the random start is drawn from: None for uniformly from the
            ball, else a normal distribution of this standard deviation in pixels.
            TRADES starts with 0.001 beside the view.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is not finite, negative or too small, if `start_std`
            comes without a random start, or if the attack is not made for the norm of
            the threat model.

    Examples:
        >>> attack = Attack(ThreatModel(eps=8 / 255), steps=3)
        >>> views = [torch.rand(4, 3, 8, 8)]
        >>> adversarial = attack(lambda views: views[0].square().sum(), views)
        >>> bool((adversarial[0] - views[0]).abs().max() <= 8 / 255 + 1e-6)
        True
    """

    norms: ClassVar[tuple[Norm, ...]] = get_args(Norm)
    """The norms that this attack is made for."""

    threat_model: ThreatModel
    steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    restarts: int = 1
    start_std: float | None = None

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if not isinstance(self.threat_model, ThreatModel):
            raise TypeError(
                f"threat_model is a {type(self.threat_model).__name__}; expected a "
                "ThreatModel, such as ThreatModel(norm='Linf', eps=8 / 255)."
            )
        if self.threat_model.norm not in self.norms:
            raise ValueError(
                f"{type(self).__name__} is not made for {self.threat_model.norm}; "
                f"expected a threat model with norm {' or '.join(self.norms)}. PGD is "
                "made for all norms."
            )
        for name in ("steps", "restarts"):
            arguments.check_count(name, getattr(self, name))
        step_size = arguments.step_size(self.step_size, self.threat_model)
        start_std = arguments.start_std(self.start_std, random_start=self.random_start)
        object.__setattr__(self, "step_size", step_size)
        object.__setattr__(self, "start_std", start_std)

    @property
    def resolved_step_size(self) -> float:
        """Length of one step in pixels: `step_size`, or the default for this eps."""
        return self.threat_model.eps / 4 if self.step_size is None else self.step_size

    @property
    def evaluations(self) -> int:
        """How often the objective is evaluated to perturb one batch."""
        return self.restarts * (self.steps + (self.restarts > 1))

    def settings(self) -> dict[str, Any]:
        """Return the numbers that this attack runs with, ready for JSON."""
        values = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name != "threat_model"
        }
        return {
            "type": type(self).__name__,
            **values,
            "step_size": self.resolved_step_size,
        }

    def notes(self, *, classes: int) -> list[str]:
        """Tell what is done in another way for a classifier of that many classes."""
        del classes
        return []

    def at(self, progress: float) -> Attack:
        """Return the attack to run at a point of training, given in [0, 1]."""
        del progress
        return self

    def update(
        self, delta: Tensor, grad: Tensor, box: PerturbationBox, memory: dict[str, Any]
    ) -> Tensor:
        """Return the next perturbation of one view; what a subclass overrides.

        Args:
            delta: Perturbation in pixels, of shape (B, ..., C, H, W).
            grad: Gradient of the objective with respect to the perturbed view.
            box: Box that the perturbation stays in, from `ThreatModel.box`.
            memory: Empty at the first step of a run, kept for the later ones.
        """
        del memory
        return self.threat_model.ascend(
            delta, grad, box, step_size=self.resolved_step_size
        )

    def perturb_views(
        self, objective: Objective, views: Views, *, generator: Generator | None = None
    ) -> list[Tensor]:
        """Perturb the views of a list; see `AttackLike`."""
        arguments.check_views(views)
        if generator is None:
            generator = rng.near(rng.private_generator(views), views[0].device)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            # Looked at once, after the attack: in a loop that waits for nothing.
            deferred.checks(),
        ):
            clean = [precision.normal_tensor(view).detach() for view in views]
            tell = functools.partial(notices.say_overshoot, self.threat_model)
            boxes = self.threat_model.boxes(clean, tell=tell)
            tracks = [
                Track(view, box, torch.zeros_like(box.lower))
                for view, box in zip(clean, boxes, strict=True)
            ]
            found = self.maximize(objective, tracks, generator)
            for track, perturbed in zip(tracks, found, strict=True):
                self.threat_model.check(track.view, perturbed, box=track.box)
        return found

    def maximize(
        self, objective: Objective, tracks: list[Track], generator: Generator
    ) -> list[Tensor]:
        """Run the loop; what an attack with a loop of its own overrides.

        Called with gradients enabled. What comes back is checked against the threat
        model; so are the views, but not before: whether they fit is read in the end.

        Args:
            objective: Maps a list of views to a scalar or to shape (B,).
            tracks: For every view the `view` itself, detached, its `box`, and `delta`,
                a perturbation of zero, in pixels.
            generator: Source of all noise.

        Returns:
            One perturbed view for each of `tracks`, such as
            `threat_model.apply(track.view, delta, track.box)`.
        """
        best = self._run(objective, tracks, generator)
        if self.restarts == 1:
            return best
        highest = _loss(objective, best)
        for _ in range(self.restarts - 1):
            found = self._run(objective, tracks, generator)
            loss = _loss(objective, found)
            better = loss > highest
            highest = torch.where(better, loss, highest)
            best = [
                torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)
                for new, old in zip(found, best, strict=True)
            ]
        return best

    def _run(
        self, objective: Objective, tracks: list[Track], generator: Generator
    ) -> list[Tensor]:
        for track in tracks:
            self._start(track, generator)
        for _ in range(self.steps):
            self._step(objective, tracks)
        return self._perturbed(tracks)

    def _start(self, track: Track, generator: Generator) -> None:
        track.memory = {}
        if self.random_start:
            # Drawn for unused views too, so that the noise of a view does not
            # depend on what is known of the others.
            noise = self.threat_model.random_start(
                track.box, std=self.start_std, generator=generator
            )
        if self.random_start and track.used:
            track.delta = noise
        else:
            track.delta = torch.zeros_like(track.box.lower)

    def _step(self, objective: Objective, tracks: list[Track]) -> None:
        # Gradients are gone when it returns: one copy of the views less in memory.
        _, grads = self._gradients(objective, tracks)
        for track, grad in zip(tracks, grads, strict=True):
            if grad is not None:
                track.delta = self.update(track.delta, grad, track.box, track.memory)

    def _gradients(
        self, objective: Objective, tracks: list[Track]
    ) -> tuple[Tensor, list[Tensor | None]]:
        used = [track.used for track in tracks]
        losses, grads = loss_and_gradients(objective, self._perturbed(tracks), used)
        unused = [
            index
            for index, grad in enumerate(grads)
            if grad is None and tracks[index].used
        ]
        if not unused:
            return losses, grads
        notices.say_unused(unused)
        for index in unused:
            tracks[index].used = False
            tracks[index].delta = torch.zeros_like(tracks[index].delta)
        # Taken while the unused views carried the noise of their start, the gradient
        # would be that of another problem.
        if self.random_start:
            return self._gradients(objective, tracks)
        return losses, grads

    def _perturbed(self, tracks: list[Track]) -> list[Tensor]:
        return [
            self.threat_model.apply(track.view, track.delta, track.box)
            for track in tracks
        ]


def _loss(objective: Objective, views: list[Tensor]) -> Tensor:
    # Not under no_grad: the objective may differentiate inside, as gradient penalties.
    return evaluate(objective, views).detach().float().reshape(-1)
