"""Several classifiers that answer as one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Return the logarithm of the mean of the probabilities of several classifiers.

    What comes out are logits: their softmax is that mean. So an attack, which takes
    the cross-entropy of what a model returns, sees `-log(mean probability of the
    label)`, and its gradient reaches all members at once, whatever their backbones and
    input normalisation.

    The mean itself, as in the code of [0], would not do. Cross-entropy takes it for
    logits and applies a second softmax, which squeezes 10 probabilities into losses
    between 1.46 and 2.46. Where members are certain, there is next to no gradient left
    to follow, and the ensemble looks more robust than it is:

    >>> from torch.nn.functional import cross_entropy
    >>> labels = torch.tensor([0])
    >>> certain = torch.tensor([[12.0, 0.0, 0.0]])  # the logits of both members
    >>> for outputs in (Ensemble([nn.Identity()] * 2), lambda x: x.softmax(dim=1)):
    ...     inputs = (-certain).requires_grad_()  # both are wrong, and certain
    ...     cross_entropy(outputs(inputs), labels).backward()
    ...     print(f"{inputs.grad[0, 0].item():.6f}")
    -0.999997
    -0.000004

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        members: Classifiers from images (B, 3, H, W) to logits (B, classes), all for
            the same images and classes. Each does its own normalisation, as
            `RobustClassifier` does.

    Raises:
        TypeError: If a member is not a module.
        ValueError: If there are none, or if they tell different numbers of classes
            (`num_classes`); those that do not tell are checked when they are called.

    Examples:
        >>> first = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> second = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(12, 5))
        >>> logits = Ensemble([first, second])(torch.rand(2, 3, 2, 2))
        >>> logits.shape, torch.allclose(logits.exp().sum(dim=1), torch.ones(2))
        (torch.Size([2, 5]), True)
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        given = list(members)
        if not given:
            raise ValueError("members is empty; expected at least one classifier.")
        for member in given:
            _check_member(member)
        _check_classes(given, [_num_classes(member) for member in given])
        self.members = nn.ModuleList(given)

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None if no member states it."""
        counts = map(_num_classes, self.members)
        return next((count for count in counts if count is not None), None)

    def forward(self, images: Tensor) -> Tensor:
        """Return log probabilities (B, classes) of images (B, 3, H, W).

        Raises:
            ValueError: If the members answer with different numbers of classes.
        """
        logits = [member(images) for member in self.members]
        _check_classes(list(self.members), [each.shape[-1] for each in logits])
        answers = torch.stack([each.log_softmax(dim=-1) for each in logits])
        return answers.logsumexp(dim=0) - math.log(len(logits))


def _check_member(member: Any) -> None:
    if not isinstance(member, nn.Module):
        raise TypeError(
            f"a member is a {type(member).__name__}; expected a torch.nn.Module that "
            "maps images to logits."
        )


def _num_classes(member: nn.Module) -> int | None:
    """Return `num_classes`, as timm and our classifiers have it, if there is one."""
    count = getattr(member, "num_classes", None)
    return count if isinstance(count, int) and count > 0 else None


def _check_classes(members: list[nn.Module], counts: list[int | None]) -> None:
    if len({count for count in counts if count is not None}) <= 1:
        return
    found = ", ".join(
        f"{type(member).__name__} {count}"
        for member, count in zip(members, counts, strict=True)
        if count is not None
    )
    raise ValueError(
        f"the members have different numbers of classes ({found}); expected "
        "classifiers of the same classes, in the same order."
    )
