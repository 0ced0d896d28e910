"""What every attack and every schedule of attacks can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, overload

from torch import Generator, Tensor, nn

from lightly_adv.attacks.classification import ClassificationObjective
from lightly_adv.isolation import modes
from lightly_adv.isolation.isolated import isolated
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Objective, Views

if TYPE_CHECKING:
    from lightly_adv.attacks.attack import Attack


class AttackLike(ABC):
    """What can be given wherever an attack is expected.

    A base class and not a protocol: command lines and config files find the classes
    that they can choose from among its subclasses.
    """

    threat_model: ThreatModel
    """What may be done to a view."""

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """How often the objective is evaluated to perturb one batch, at most."""

    @abstractmethod
    def at(self, progress: float) -> Attack:
        """Return the attack to run at a point of training, given in [0, 1]."""

    @overload
    def __call__(
        self, objective: Objective, views: Tensor, *, generator: Generator | None = None
    ) -> Tensor: ...

    @overload
    def __call__(
        self, objective: Objective, views: Views, *, generator: Generator | None = None
    ) -> list[Tensor]: ...

    def __call__(
        self,
        objective: Objective,
        views: Tensor | Views,
        *,
        generator: Generator | None = None,
    ) -> Tensor | list[Tensor]:
        """Perturb views so that the objective rises.

        Gradients are taken with respect to the views only; neither the views nor any
        `.grad` is touched. A view that the objective does not depend on comes back as
        it is, with a warning. The global random state is never drawn from: without a
        generator, noise is seeded from that state and from the views.

        Args:
            objective: Maps the list of views to a scalar or to shape (B,).
            views: Tensors of shape (B, ..., C, H, W), normalised as the threat model
                says; or one such tensor, as a list of one.
            generator: Source of the noise of random starts. Noise is drawn on its
                device, and copied to that of the views if it is another one. Pass one
                where views are on a GPU: to seed from them is to wait for the GPU.

        Returns:
            Perturbed views, detached, in the order, shape and dtype of `views`; a
            tensor where `views` is one.

        Raises:
            TypeError: If `views` does not hold floating tensors, or if the objective
                does not return a tensor.
            ValueError: If the views do not lie in the range of pixels, or if the
                objective has another shape. What another batch may do without is an
                `UnfitBatchError`: views out of range or not finite, an objective that
                is NaN or depends on none of the views.
        """
        if isinstance(views, Tensor):
            return self.perturb_views(objective, [views], generator=generator)[0]
        return self.perturb_views(objective, views, generator=generator)

    @abstractmethod
    def perturb_views(
        self, objective: Objective, views: Views, *, generator: Generator | None = None
    ) -> list[Tensor]:
        """Perturb the views of a list, as `__call__` does."""

    def perturb(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Perturb images so that a classifier mistakes them.

        The model is attacked in eval mode. It is left as it was, and so are the global
        random streams.

        Args:
            model: Maps images to logits of shape (B, classes). What is no module has
                to be in eval mode already.
            images: Tensor of shape (B, C, H, W), with pixels in the bounds of the
                threat model, or normalised as it says.
            labels: Class numbers of shape (B,).
            generator: Source of the noise of random starts.

        Returns:
            Perturbed images, detached, of the shape and dtype of `images`.

        Raises:
            TypeError: If images or labels are no tensors of the right kind.
            ValueError: If there is not one label for each image, or if the images do
                not lie in the range of pixels.

        Examples:
            >>> import torch
            >>> from lightly_adv import PGD, ThreatModel
            >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
            >>> images, labels = torch.rand(2, 3, 2, 2), torch.tensor([0, 3])
            >>> perturbed = PGD(ThreatModel(eps=0.1)).perturb(model, images, labels)
            >>> perturbed.shape
            torch.Size([2, 3, 2, 2])
        """
        _check_images(images, labels)
        objective = ClassificationObjective(model, labels.to(images.device))
        with ExitStack() as stack:
            if isinstance(model, nn.Module):
                stack.enter_context(isolated(model))
                stack.enter_context(modes.evaluation_mode(model))
            return self(objective, images, generator=generator)


def _check_images(images: object, labels: object) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(
            f"images is a {type(images).__name__}; expected a tensor of shape "
            "(B, C, H, W). For several views call the attack with an objective."
        )
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels is {kind}; expected a tensor of class numbers.")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}; expected one class number for "
            f"each image, ({len(images)},)."
        )


def check_attack(attack: Any) -> None:
    """Refuse what is neither an attack nor a schedule.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(attack, AttackLike):
        raise TypeError(
            f"attack is a {type(attack).__name__}; expected an attack such as "
            "PGD(ThreatModel(eps=8 / 255), steps=5), or an AttackSchedule."
        )
