"""What training minimises besides the distance that the attack raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from lightly_adv.functional import validation
from lightly_adv.functional.feature_distances import FeatureDistance


class Features(NamedTuple):
    """Features of one batch, each of shape (B, D) or (B, T, D)."""

    attacked: Tensor
    """Of the student, for attacked images."""

    target: Tensor
    """Of the teacher, for clean images."""

    clean: Tensor | None = None
    """Of the student, for clean images, where they are asked for."""

    @property
    def moved(self) -> Tensor:
        """Those of the student for clean images.

        Raises:
            ValueError: If they are not there.
        """
        if self.clean is None:
            raise ValueError(
                "the features of clean images are not computed; set needs_clean = True "
                "in the class of the fidelity."
            )
        return self.clean


class Fidelity(Protocol):
    """Makes a loss of the features of one batch.

    With a method `update(clean)`, which is called after every batch with the mean clean
    distance relative to the mean size of the target, it can follow training.
    """

    @property
    def needs_clean(self) -> bool:
        """Whether clean images pass the student, too."""

    def loss(self, features: Features, distance: FeatureDistance) -> Tensor:
        """Return the loss of each image, of shape (B,)."""


@dataclass(frozen=True)
class AttackedOnly:
    """The distance of attacked features alone: FARE [0].

    - [0] Robust CLIP, 2024, https://arxiv.org/abs/2402.12336
    """

    needs_clean = False

    def loss(self, features: Features, distance: FeatureDistance) -> Tensor:
        """Return the loss of each image, of shape (B,)."""
        return distance(features.attacked, features.target)


@dataclass(frozen=True)
class CleanDistance:
    """Also the distance of clean features from those of the teacher, with a weight.

    Args:
        weight: The weight.

    Raises:
        ValueError: If it is negative or not finite.
    """

    weight: float = 1.0
    needs_clean = True

    def __post_init__(self) -> None:
        """Validate the arguments."""
        validation.as_number("weight", self.weight)

    def loss(self, features: Features, distance: FeatureDistance) -> Tensor:
        """Return the loss of each image, of shape (B,)."""
        attacked = distance(features.attacked, features.target)
        return attacked + self.weight * distance(features.moved, features.target)


@dataclass(frozen=True)
class Consistency:
    """Clean features near those of the teacher, attacked ones near the clean: DeACL.

    With the distance "cosine" it is the loss of [0], up to a constant. A gradient flows
    through both features of the student.

    - [0] Decoupled Adversarial Contrastive Learning for Self-supervised Adversarial
      Robustness, 2022, https://arxiv.org/abs/2207.10899

    Args:
        weight: Weight of the second distance.

    Raises:
        ValueError: If it is negative or not finite.
    """

    weight: float = 2.0
    needs_clean = True

    def __post_init__(self) -> None:
        """Validate the arguments."""
        validation.as_number("weight", self.weight)

    def loss(self, features: Features, distance: FeatureDistance) -> Tensor:
        """Return the loss of each image, of shape (B,)."""
        clean = distance(features.moved, features.target)
        return clean + self.weight * distance(features.attacked, features.moved)
