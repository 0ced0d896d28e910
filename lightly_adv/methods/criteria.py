"""What an attack on a classifier raises, and what its training minimises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from lightly_adv.attacks import AttackLike
from lightly_adv.functional import losses
from lightly_adv.registry import Registry

Pass: TypeAlias = Callable[[], Tensor]
"""Runs the network once and returns logits (B, C); not called, it costs nothing."""


class AdversarialCriterion(Protocol):
    """The two losses of adversarial training of a classifier.

    Any object with these members will do. One that inherits from this class is also
    found by the name of its class on the command line.
    """

    needs_noise: ClassVar[bool]
    """Whether the gradient of the attacked loss vanishes at the image itself, so that
    an attack needs a random start."""

    def attacked_loss(self, clean: Pass, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what the attack raises, from logits (B, C) to losses (B,).

        Called once per attack, with the network as the attack sees it (without noise
        of dropout) and without gradients.

        Args:
            clean: Gives the logits of the clean images.
            labels: Class numbers (B,).
        """

    def training_loss(self, clean: Pass, adversarial: Pass, labels: Tensor) -> Tensor:
        """Return the scalar that training minimises.

        Each pass goes through the network in train mode, and moves the statistics of
        its BatchNorm layers: call it once, or not at all.

        Args:
            clean: Gives the logits of the clean images.
            adversarial: Gives those of the perturbed images.
            labels: Class numbers (B,).
        """


REGISTRY = Registry[AdversarialCriterion]("criterion", "lightly_adv.criteria")
"""The criteria by name."""

create_criterion = REGISTRY.create
list_criteria = REGISTRY.list
register_criterion = REGISTRY.register
is_criterion = REGISTRY.is_registered


@register_criterion("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(AdversarialCriterion):
    """Cross-entropy of perturbed images alone, attacked and minimised.

    - [0] Towards Deep Learning Models Resistant to Adversarial Attacks, 2017,
      https://arxiv.org/abs/1706.06083

    Examples:
        >>> import torch
        >>> logits, labels = torch.zeros(2, 5), torch.tensor([0, 3])
        >>> CrossEntropy().training_loss(lambda: logits, lambda: logits, labels)
        tensor(1.6094)
    """

    needs_noise: ClassVar[bool] = False

    def attacked_loss(self, clean: Pass, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the cross-entropy of every image."""
        del clean
        return lambda logits: F.cross_entropy(logits, labels, reduction="none")

    def training_loss(self, clean: Pass, adversarial: Pass, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the perturbed images."""
        del clean
        return F.cross_entropy(adversarial(), labels)


@dataclass(frozen=True)
class _Regularized(AdversarialCriterion):
    """`CE(clean) + beta * KL(clean || adversarial)`, whatever is attacked."""

    beta: float

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(
                f"beta={self.beta} must be finite and not negative: it is the weight "
                "of the divergence next to the cross-entropy."
            )

    def training_loss(self, clean: Pass, adversarial: Pass, labels: Tensor) -> Tensor:
        """Return the loss; its gradient flows through both passes."""
        logits = clean()
        divergence = losses.kl_divergence(logits, adversarial()).mean()
        return F.cross_entropy(logits, labels) + self.beta * divergence


@register_criterion("kl_regularized")
@dataclass(frozen=True)
class KLRegularized(_Regularized):
    """Minimise `CE(clean) + beta * KL(clean || adversarial)`, attack cross-entropy.

    With beta=1 it is the first of the two variants with a divergence in the code of
    [0]. The second is `TRADES(beta=1.0)` with an attack that has `start_std=0.001`.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        beta: Weight of the divergence.

    Raises:
        ValueError: If beta is negative or not finite.

    Examples:
        >>> KLRegularized()
        KLRegularized(beta=1.0)
    """

    needs_noise: ClassVar[bool] = False
    beta: float = 1.0

    def attacked_loss(self, clean: Pass, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the cross-entropy of every image."""
        del clean
        return lambda logits: F.cross_entropy(logits, labels, reduction="none")


@register_criterion("trades")
@dataclass(frozen=True)
class TRADES(_Regularized):
    """Minimise `CE(clean) + beta * KL(clean || adversarial)`, attack the divergence.

    The attack raises the divergence from what the network, as the attack sees it,
    predicts for clean images, which is computed once per attack. At a clean image that
    divergence has no gradient but rounding: the attack needs a random start. That of
    [0] is `PGD(threat_model, steps=10, step_size=2 / 255, start_std=0.001)`.

    - [0] Theoretically Principled Trade-off between Robustness and Accuracy, 2019,
      https://arxiv.org/abs/1901.08573

    Args:
        beta: Weight of the divergence.

    Raises:
        ValueError: If beta is negative or not finite.

    Examples:
        >>> TRADES(beta=1.0)
        TRADES(beta=1.0)
    """

    needs_noise: ClassVar[bool] = True
    beta: float = 6.0

    def attacked_loss(self, clean: Pass, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the divergence of every image from the clean logits."""
        del labels
        target = clean().detach()
        return lambda logits: losses.kl_divergence(target, logits)


def resolve(
    criterion: AdversarialCriterion | str | None,
    attack: AttackLike | None,
) -> AdversarialCriterion:
    """Resolve a criterion, and check it against the attack.

    Args:
        criterion: A criterion, the name of one, or None for `CrossEntropy()`.
        attack: The attack to train with, if any.

    Raises:
        TypeError: If it is neither a criterion nor a name.
        ValueError: If the name is unknown; if a criterion comes without an attack, or
            with one that cannot raise it.
    """
    if criterion is None:
        return CrossEntropy()
    if isinstance(criterion, str):
        criterion = create_criterion(criterion)
    _check_type(criterion)
    if attack is None:
        raise ValueError(
            f"criterion={criterion} came without an attack; pass attack=PGD("
            "ThreatModel(eps=8 / 255)), or leave it out to train on clean images."
        )
    final = attack.at(1.0)
    if criterion.needs_noise and not final.random_start:
        raise ValueError(
            f"{type(final).__name__} starts at the image itself (random_start=False),"
            f" where the loss that {type(criterion).__name__} attacks has no gradient; "
            "pass random_start=True, and start_std=0.001 to start as in TRADES."
        )
    return criterion


def _check_type(criterion: Any) -> None:
    members = ("needs_noise", "attacked_loss", "training_loss")
    if isinstance(criterion, type) or not all(hasattr(criterion, m) for m in members):
        raise TypeError(
            f"criterion is {criterion!r}; expected a criterion such as "
            f"TRADES(beta=6.0), or one of the names {', '.join(list_criteria())}."
        )
