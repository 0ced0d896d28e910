"""Gradients of an objective with respect to views, checked and safe under fp16."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from lightly_adv.errors import NotFiniteError, UnreachedError
from lightly_adv.functional import deferred, precision
from lightly_adv.types import Objective, ScopedObjective


def gradients(
    objective: Objective, views: Sequence[Tensor], used: Sequence[bool]
) -> list[Tensor | None]:
    """Differentiate the objective at `views`; see `loss_and_gradients`."""
    return loss_and_gradients(objective, views, used)[1]


def loss_and_gradients(
    objective: Objective, views: Sequence[Tensor], used: Sequence[bool]
) -> tuple[Tensor, list[Tensor | None]]:
    """Evaluate and differentiate the objective at `views`.

    Args:
        objective: Maps views to a scalar or to shape (B,).
        views: Tensors without history.
        used: Which of them to differentiate with respect to.

    Returns:
        What the objective returned, detached, and one gradient per view; None where it
        is not used or does not matter.

    Raises:
        UnreachedError: If no view matters to the objective.
        NotFiniteError: If a loss or gradient is NaN; inside of a scope of
            `deferred.checks` at the end of that.
    """
    leaves = [
        view.requires_grad_() for view, use in zip(views, used, strict=True) if use
    ]
    scale = precision.loss_scale(views[0])
    with deferred.checks() as pending:
        with scope(objective) as function:
            loss = evaluate(function, views)
            if not loss.requires_grad:
                raise UnreachedError(_INDEPENDENT)
            found = torch.autograd.grad(_total(loss, scale), leaves, allow_unused=True)
        if all(grad is None for grad in found):
            raise UnreachedError(_INDEPENDENT)
        rest = iter(found)
        grads = [_checked(next(rest), scale, pending) if use else None for use in used]
    return loss.detach(), grads


def differentiate(
    objective: Objective, views: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    """Return loss and gradients at `views`, whatever they are.

    Raises:
        UnreachedError: If the objective depends on none of them.
    """
    leaves = [view.detach().clone().requires_grad_() for view in views]
    with scope(objective) as function:
        loss = function(leaves)
        if not loss.requires_grad:
            raise UnreachedError(_INDEPENDENT)
        found = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
    if all(grad is None for grad in found):
        raise UnreachedError(_INDEPENDENT)
    return loss.detach(), list(found)


def scope(objective: Objective) -> AbstractContextManager[Objective]:
    """Return the scope of an objective; that of a plain function is nothing.

    See `ScopedObjective`.
    """
    if hasattr(objective, "scope"):
        scoped: ScopedObjective = objective
        return scoped.scope()
    return nullcontext(objective)


def evaluate(objective: Objective, views: Sequence[Tensor]) -> Tensor:
    """Call the objective and check what it returns.

    Raises:
        TypeError: If it is not a tensor.
        NotFiniteError: If it is NaN, see `loss_and_gradients`.
        ValueError: If it is neither a scalar nor of shape (B,).
    """
    with deferred.apart():  # an attack inside of the objective looks for itself
        loss = objective(views)
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"the objective returned a {type(loss).__name__}; expected a tensor, "
            "a scalar or one value per sample."
        )
    batch = len(views[0])
    if loss.numel() != 1 and loss.shape != (batch,):
        raise ValueError(
            f"the objective returned shape {tuple(loss.shape)}; expected a scalar or "
            f"one value per sample, ({batch},). Reduce it, for instance with .mean()."
        )
    if loss.numel():
        with deferred.checks() as pending:
            pending.add(largest(loss), _refuse_nan_objective)
    return loss


def largest(loss: Tensor) -> Tensor:
    """Return the largest absolute value of a loss, NaN if one is; a scalar as it is.

    It is a copy: it is read later, when whoever computed the loss may have changed it.
    """
    loss = loss.detach()
    if loss.dim() == 0:
        return loss.clone()
    size: Tensor = torch.linalg.vector_norm(loss, math.inf)
    return size


def _total(loss: Tensor, scale: float) -> Tensor:
    total = loss if loss.dim() == 0 else loss.sum()
    return total if scale == 1.0 else total * scale


def _checked(
    grad: Tensor | None, scale: float, pending: deferred.Checks
) -> Tensor | None:
    if grad is None or not grad.numel():
        return grad
    if scale == 1.0:
        # The sign of NaN is 0, so that an attack would silently stand still.
        pending.add(grad.amax(), _refuse_nan_gradient)
        return grad
    # Entries that overflowed keep their sign; those that are undefined are skipped.
    return grad.float().nan_to_num(nan=0.0).div_(scale)


def _refuse_nan_objective(values: list[float]) -> None:
    if math.isnan(values[0]):
        raise NotFiniteError(NAN_OBJECTIVE)


def _refuse_nan_gradient(values: list[float]) -> None:
    if math.isnan(values[0]):
        raise NotFiniteError(NAN_GRADIENT)


NAN_OBJECTIVE = (
    "the objective is NaN. Look at the loss and its inputs, for instance with "
    "torch.autograd.set_detect_anomaly(True)."
)
INFINITE_OBJECTIVE = NAN_OBJECTIVE.replace("NaN", "NaN or inf")
NAN_GRADIENT = (
    "the gradient of the objective is NaN, although the objective is not: look for "
    "a square root, norm or division at zero, for instance with "
    "torch.autograd.set_detect_anomaly(True), and add a small constant there."
)
_INDEPENDENT = (
    "the objective does not depend on any of the views: no gradient reaches them. Is "
    "there an augmentation, or a backbone as in Lightly's LinearClassifier, that runs "
    "under torch.no_grad() or detaches what it returns, or are the wrong views "
    "selected? Augment before the training step, name the submodule that augments "
    "with AdversarialTraining(views=...), use a head that lets the gradient through, "
    "or select other views."
)
