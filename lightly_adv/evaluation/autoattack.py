"""The attacks of AutoAttack as pyautoattack runs them, as attacks of a suite."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import Attack
from lightly_adv.attacks.attack import Track
from lightly_adv.attacks.classification import ClassificationObjective, require
from lightly_adv.functional import pixels, validation
from lightly_adv.isolation import modes, rng
from lightly_adv.types import Norm, Objective

Name: TypeAlias = Literal["apgd-ce", "apgd-t", "fab-t", "square"]

NAMES: tuple[Name, ...] = get_args(Name)
"""The attacks of AutoAttack, in the order in which it runs them."""

MAX_TARGETS = 9
"""How many wrong classes the targeted attacks aim at, where there are as many."""


def require_package(*, suite: str) -> None:
    """Check that pyautoattack is installed.

    Raises:
        ImportError: If it is not installed, with the command that installs it.
    """
    if importlib.util.find_spec("pyautoattack") is None:
        raise ImportError(
            f"the suite {suite!r} needs pyautoattack: "
            "pip install lightly-adv[autoattack]"
        )


@dataclass(frozen=True)
class ReferenceAttack(Attack):
    """One of the four attacks of AutoAttack, run by the package pyautoattack.

    It has to be given a `ClassificationObjective`. The targeted attacks aim at as many
    classes as there are; with 3 classes the untargeted DLR loss takes the place of the
    targeted one, with 2 there is none, and "apgd-t" changes nothing.

    - [0] Reliable evaluation of adversarial robustness with an ensemble of diverse
      parameter-free attacks, 2020, https://arxiv.org/abs/2003.01690

    Args:
        threat_model: What may be done to an image.
        name: "apgd-ce", "apgd-t", "fab-t" or "square".
        steps: Number of iterations; of queries for "square". Defaults to those
            of the standard version, 100 and 5000.
        restarts: Number of runs, each on the images that withstood those before.

    Raises:
        ValueError: If the name is unknown.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")

    name: Name = "apgd-ce"
    steps: int = 0
    step_size: float | None = field(default=None, init=False)
    random_start: bool = field(default=True, init=False)
    start_std: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Validate the arguments."""
        validation.check_choice("name", self.name, NAMES)
        if not self.steps:
            object.__setattr__(self, "steps", 5000 if self.name == "square" else 100)
        super().__post_init__()

    def settings(self) -> dict[str, Any]:
        """Return the numbers that this attack runs with, ready for JSON."""
        return {
            "type": self.name,
            "steps": self.steps,
            "restarts": self.restarts,
            "pyautoattack": importlib.metadata.version("pyautoattack"),
        }

    def notes(self, *, classes: int) -> list[str]:
        """Tell what is done in another way for few classes."""
        if self.name not in ("apgd-t", "fab-t") or classes > MAX_TARGETS:
            return []
        if self.name == "apgd-t" and classes == 3:
            return [
                "the targeted DLR loss takes 4 classes; with 3 classes apgd-t ran with "
                "the untargeted one."
            ]
        if self.name == "apgd-t" and classes < 3:
            return [
                f"the DLR loss takes 3 classes; with {classes} classes apgd-t was left "
                "out."
            ]
        return [
            f"with {classes} classes {self.name} aimed at {classes - 1} wrong ones "
            f"instead of {MAX_TARGETS}."
        ]

    def maximize(
        self, objective: Objective, tracks: list[Track], generator: Generator
    ) -> list[Tensor]:
        """Run the attack of pyautoattack on the first view; see `Attack.maximize`."""
        known = require(objective, attack=self.name)
        view, box = tracks[0].view, tracks[0].box
        drawn = torch.randint(2**31, (), generator=generator, device=generator.device)
        clean = self._to_unit(view.float()).clamp(0, 1)
        with _contained(known, clean.device), torch.no_grad():
            found = self._perturb(known, clean, like=view, seed=int(drawn))
        # Rounding may have taken it out of the ball by less than can be seen.
        delta = (found - clean).to(box.lower.dtype) * self._width
        delta = self.threat_model.project(delta, box)
        others = [track.view for track in tracks[1:]]
        return [self.threat_model.apply(view, delta, box), *others]

    def _perturb(
        self,
        objective: ClassificationObjective,
        clean: Tensor,
        *,
        like: Tensor,
        seed: int,
    ) -> Tensor:
        """Return images in [0, 1], those that are not misclassified as they were."""

        def logits(images: Tensor) -> Tensor:
            views = self._from_unit(images).to(like.dtype)
            # A copy: Square writes into it.
            return objective.logits([views]).float().clone()

        classes = logits(clean[:1]).shape[1]
        attack = self._configured(logits, classes, seed=seed, device=clean.device)
        if attack is None:
            return clean
        perturbed: Tensor = attack.perturb(clean.clone(), objective.labels.clone())
        return perturbed

    @property
    def _width(self) -> float:
        """Width of the bounds; pyautoattack knows pixels in [0, 1] only."""
        low, high = self.threat_model.bounds
        return high - low

    def _to_unit(self, views: Tensor) -> Tensor:
        shown = pixels.to_pixels(views, self.threat_model.normalize)
        return (shown - self.threat_model.bounds[0]) / self._width

    def _from_unit(self, images: Tensor) -> Tensor:
        shown = images * self._width + self.threat_model.bounds[0]
        return pixels.to_normalized(shown, self.threat_model.normalize)

    def _configured(
        self, logits: Any, classes: int, *, seed: int, device: torch.device
    ) -> Any:
        """Return the object that runs the attack, None where it cannot be run."""
        import pyautoattack

        targets = min(MAX_TARGETS, classes - 1)
        if not targets or (self.name == "apgd-t" and classes < 3):
            return None
        model = self.threat_model
        every = pyautoattack.AutoAttack(
            logits,
            norm=model.norm,
            eps=model.eps / self._width,
            seed=seed,
            device=device,
        )
        attack = {
            "apgd-ce": every.apgd,
            "apgd-t": every.apgd_targeted if classes > 3 else every.apgd,
            "fab-t": every.fab,
            "square": every.square,
        }[self.name]
        every.apgd.loss = "dlr" if self.name == "apgd-t" else "ce"
        every.fab.targeted = True
        attack.n_target_classes = targets
        attack.n_restarts = self.restarts
        _set_steps(attack, self.name, self.steps)
        return attack


def _set_steps(attack: Any, name: Name, steps: int) -> None:
    if name == "square":
        attack.n_queries = steps
        return
    attack.n_iter = steps
    if name != "fab-t":  # when to look at the progress, which is computed once
        attack.n_iter_2 = max(int(0.22 * steps), 1)
        attack.n_iter_min = max(int(0.06 * steps), 1)
        attack.size_decr = max(int(0.03 * steps), 1)


@contextmanager
def _contained(
    objective: ClassificationObjective, device: torch.device
) -> Iterator[None]:
    """Keep what pyautoattack does to random states, gradients and logs from outside."""
    logger = logging.getLogger("auto-attack")
    disabled = logger.disabled
    with ExitStack() as stack:
        stack.enter_context(rng.forked(device))
        if isinstance(objective.model, nn.Module):
            # Its FAB calls `backward`, which would add to the gradients of the model.
            stack.enter_context(modes.frozen_parameters(objective.model))
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = disabled
