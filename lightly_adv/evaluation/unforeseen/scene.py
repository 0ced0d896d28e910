"""The loop that all unforeseen attacks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from lightly_adv.attacks.gradients import gradients
from lightly_adv.evaluation.unforeseen.spaces import Space


class Scene(NamedTuple):
    """What an attack can make of one batch of images."""

    start: Tensor
    """Parameters (B, ...) to start from, inside of the space."""

    space: Space
    """Where the parameters may lie."""

    render: Callable[[Tensor], Tensor]
    """From parameters to images (B, C, H, W) in [0, 1], differentiable."""


class Setting(Protocol):
    """From images to what an attack can make of them."""

    def __call__(self, images: Tensor, eps: float, generator: Generator, /) -> Scene:
        """Return the scene.

        Args:
            images: Images of shape (B, C, H, W), float32 in [0, 1].
            eps: Strength, in units of the attack.
            generator: Source of all that is drawn.
        """


def climb(objective: Callable[[Tensor], Tensor], scene: Scene, *, steps: int) -> Tensor:
    """Return images that the scene allows and that raise an objective.

    Args:
        objective: From images (B, C, H, W) to one value each, of shape (B,), or to
            their sum.
        scene: What can be made of the images.
        steps: Number of gradient steps.

    Returns:
        The images after the last step, detached.

    Raises:
        ValueError: If the objective or its gradient is NaN, or if it does not depend
            on the images.
    """

    def rendered(views: Sequence[Tensor]) -> Tensor:
        return objective(scene.render(views[0]))

    z = scene.start
    for step in range(steps):
        with torch.enable_grad():
            (grad,) = gradients(rendered, [z.detach()], [True])
        assert grad is not None  # for the type checker: there is but one view
        with torch.no_grad():
            z = scene.space.ascend(z.detach(), grad, step=step, steps=steps)
    with torch.no_grad():
        return scene.render(z)


def check_colours(images: Tensor, attack: str) -> None:
    """Refuse images that do not have three channels.

    Raises:
        ValueError: If the images do not have red, green and blue.
    """
    if images.shape[1] != 3:
        raise ValueError(
            f"the images have {images.shape[1]} channels; {attack} needs 3, red, "
            "green and blue. Leave it out with attacks=[...]."
        )
