"""What unforeseen attacks share: parameters of images, where they lie, the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from lightly_adv.attacks.gradients import gradients
from lightly_adv.functional import norms
from lightly_adv.types import Norm


class Space(Protocol):
    """A set of parameters, and how an attack moves in it."""

    def ascend(self, z: Tensor, grad: Tensor, *, step: int, steps: int) -> Tensor:
        """Return the next parameters.

        Args:
            z: Parameters of shape (B, ...), inside of the space.
            grad: Gradient of what is to rise, of the same shape.
            step: Number of this step, from 0.
            steps: Number of all steps.
        """


@dataclass(frozen=True)
class Ball:
    """A norm ball around zero, cut to a box; steps are of length eps / sqrt(steps).

    Args:
        norm: "Linf", "L2" or "L1".
        eps: Radius.
        lower: Smallest values of the box, which holds zero.
        upper: Largest values.
    """

    norm: Norm
    eps: float
    lower: Tensor | float = -math.inf
    upper: Tensor | float = math.inf

    def start(self, like: Tensor, generator: Generator) -> Tensor:
        """Draw parameters uniformly from the ball, and cut them to the box."""
        point = norms.random_point(
            like, norm=self.norm, radius=self.eps, generator=generator
        )
        return self.cut(point)

    def ascend(self, z: Tensor, grad: Tensor, *, step: int, steps: int) -> Tensor:
        """Take a step of steepest ascent and project it back."""
        length = self.eps / math.sqrt(steps)
        moved = z + norms.steepest_ascent(grad, norm=self.norm, step_size=length)
        return self.cut(norms.project(moved, norm=self.norm, radius=self.eps))

    def cut(self, z: Tensor) -> Tensor:
        """Return parameters inside of the box, each no farther from zero."""
        lower, upper = (
            torch.as_tensor(each).to(z) for each in (self.lower, self.upper)
        )
        return z.clamp(lower, upper)


@dataclass(frozen=True)
class FrankWolfe:
    """An L1 ball cut to a box, with steps that need no projection.

    Each step mixes the parameters with the vertex that the gradient points to most:
    step k with weight 1 / (k + 1).

    - [0] Testing Robustness Against Unforeseen Adversaries, 2019,
      https://arxiv.org/abs/1908.08016

    Args:
        eps: Radius of the L1 ball.
        lower: Smallest values of the box, not above zero.
        upper: Largest values, not below zero.
    """

    eps: float
    lower: Tensor | float
    upper: Tensor | float

    def start(self, like: Tensor, generator: Generator) -> Tensor:
        """Draw parameters uniformly from the ball, and cut them to the box."""
        return Ball("L1", self.eps, self.lower, self.upper).start(like, generator)

    def ascend(self, z: Tensor, grad: Tensor, *, step: int, steps: int) -> Tensor:
        """Move towards the best vertex."""
        del steps
        return z + (self.vertex(grad) - z) / (step + 1)

    def vertex(self, grad: Tensor) -> Tensor:
        """Return the point of the space with the largest product with the gradient.

        Entries go to the end of the box, in the order of their gradients, until the
        radius is spent; the last one goes as far as is left.
        """
        flat = grad.flatten(1)
        end = torch.where(grad > 0, self.upper, self.lower).abs().flatten(1)
        order = flat.abs().argsort(dim=1, descending=True, stable=True)
        box = end.gather(1, order)
        before = box.cumsum(dim=1) - box
        spent = (self.eps - before).clamp(min=0).minimum(box)
        size = torch.zeros_like(flat).scatter(1, order, spent)
        return (flat.sign() * size).view_as(grad)


class Parametrization(NamedTuple):
    """What an attack can make of one batch of images.

    Args:
        start: Parameters (B, ...) to start from, inside of the space.
        space: Where the parameters may lie.
        render: From parameters to images (B, C, H, W) in [0, 1], differentiable.
    """

    start: Tensor
    space: Space
    render: Callable[[Tensor], Tensor]


class Parametrize(Protocol):
    """From images to what an attack can make of them."""

    def __call__(
        self, images: Tensor, eps: float, generator: Generator, /
    ) -> Parametrization:
        """Return the parametrization.

        Args:
            images: Images of shape (B, C, H, W), float32 in [0, 1].
            eps: Strength, in units of the attack.
            generator: Source of all that is drawn.
        """


def maximize(
    objective: Callable[[Tensor], Tensor],
    parametrization: Parametrization,
    *,
    steps: int,
) -> Tensor:
    """Return images of a parametrization that raise an objective.

    Args:
        objective: From images (B, C, H, W) to one value each, of shape (B,), or to
            their sum.
        parametrization: What can be made of the images.
        steps: Number of gradient steps.

    Returns:
        The images after the last step, detached.

    Raises:
        ValueError: If the objective or its gradient is NaN, or if it does not depend
            on the images.
    """

    def rendered(views: Sequence[Tensor]) -> Tensor:
        return objective(parametrization.render(views[0]))

    z = parametrization.start
    for step in range(steps):
        with torch.enable_grad():
            (grad,) = gradients(rendered, [z.detach()], [True])
        assert grad is not None  # for the type checker: there is but one view
        with torch.no_grad():
            z = parametrization.space.ascend(z.detach(), grad, step=step, steps=steps)
    with torch.no_grad():
        return parametrization.render(z)


def check_colours(images: Tensor, attack: str) -> None:
    """Check that images have three channels.

    Raises:
        ValueError: If the images do not have red, green and blue.
    """
    if images.shape[1] != 3:
        raise ValueError(
            f"the images have {images.shape[1]} channels; {attack} needs 3, red, "
            "green and blue. Leave it out with attacks=[...]."
        )
