"""What attacks on classifiers raise, with the logits and labels behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from torch import Tensor
from torch.nn import functional

from lightly_adv.functional import losses, precision
from lightly_adv.types import Objective, Views

Classification = TypeVar("Classification", bound="ClassificationObjective")


@dataclass(frozen=True, eq=False)
class ClassificationObjective:
    """The cross-entropy of a classifier, one value per image.

    An attack that is given this, and not just any function, knows which images are
    still classified correctly, and can leave the others alone.

    Args:
        model: Maps images of shape (B, C, H, W) to logits of shape (B, classes).
        labels: The right classes, of shape (B,).

    Examples:
        >>> import torch
        >>> from lightly_adv import APGD, ThreatModel
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
        >>> objective = ClassificationObjective(model, torch.tensor([0, 3]))
        >>> images = torch.rand(2, 3, 2, 2)
        >>> objective([images]).shape
        torch.Size([2])
        >>> perturbed, = APGD(ThreatModel(eps=0.1))(objective, [images])
    """

    model: Callable[[Tensor], Tensor]
    labels: Tensor

    def __call__(self, views: Views) -> Tensor:
        """Return the loss of every image, of shape (B,)."""
        return self.losses(self.logits(views))

    def logits(self, views: Views) -> Tensor:
        """Return the logits of the images, which are the first view."""
        return self.model(views[0])

    def losses(self, logits: Tensor) -> Tensor:
        """Return the loss of every image, from its logits."""
        return functional.cross_entropy(
            logits, precision.normal_tensor(self.labels), reduction="none"
        )

    def subset(self: Classification, index: Tensor) -> Classification:
        """Return the objective of some of the images.

        Args:
            index: Their places in the batch, or one bool per image.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        changes: dict[str, Any] = {
            name: value[index]
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class TargetedObjective(ClassificationObjective):
    """How much a wrong class wins over the right one; see `losses.targeted_dlr`.

    Args:
        targets: The wrong class that each image is to be taken for, of shape (B,).
    """

    targets: Tensor

    def losses(self, logits: Tensor) -> Tensor:
        """Return the loss of every image, from its logits."""
        return losses.targeted_dlr(
            logits, precision.normal_tensor(self.labels), self.targets
        )


def require(objective: Objective, *, attack: str) -> ClassificationObjective:
    """Return the objective if it is one of a classifier.

    Raises:
        TypeError: If it is anything else.
    """
    if isinstance(objective, ClassificationObjective):
        return objective
    raise TypeError(
        f"{attack} was given a {type(objective).__name__} as objective; it has to know "
        "logits and labels, so expected a ClassificationObjective(model, labels). APGD "
        "and PGD raise any objective."
    )
