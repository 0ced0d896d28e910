"""Random points, steepest ascent and projections for L-inf, L2 and L1 balls.

Every function works on a batch: dimension 0 counts samples, and the norm of a sample
is taken over all its other dimensions. Radii and step sizes share the unit of the
perturbation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lightly_adv.functional import sampling
from lightly_adv.types import Norm

L1_STEP_DENSITY = 0.01
"""Share of the coordinates that one L1 ascent step moves, as in Tramer and Boneh."""


def norm(delta: Tensor, *, norm: Norm) -> Tensor:
    """Return the norm of every sample.

    Args:
        delta: Perturbations of shape (B, ...).
        norm: "Linf", "L2" or "L1".

    Returns:
        Tensor of shape (B,).

    Examples:
        >>> norm(torch.tensor([[3.0, -4.0]]), norm="L2")
        tensor([5.])
    """
    flat = delta.flatten(1)
    size: Tensor = torch.linalg.vector_norm(flat, ord=_ORDER[norm], dim=1)
    return size


def random_point(
    like: Tensor, *, norm: Norm, radius: float, generator: Generator | None = None
) -> Tensor:
    """Draw points uniformly from the ball of the given radius around zero.

    Args:
        like: Tensor of shape (B, ...) that gives shape, dtype and device.
        norm: "Linf", "L2" or "L1".
        radius: Radius of the ball.
        generator: Source of randomness, on any device.

    Returns:
        Tensor like `like`, one point of the ball per sample.

    Examples:
        >>> point = random_point(torch.zeros(2, 3, 4, 4), norm="L1", radius=0.5)
        >>> bool((point.abs().flatten(1).sum(1) <= 0.5).all())
        True
    """
    if norm == "Linf":
        return sampling.uniform(like, generator=generator).mul_(2 * radius).sub_(radius)
    direction, length = _DIRECTION[norm](like, generator)
    # A uniform point of an n-ball has a radius distributed as u ** (1 / n).
    shrink = sampling.uniform(length, generator=generator).pow(1 / like[0].numel())
    return direction * (radius * shrink / length)


def norm_of_ones(count: int, *, norm: Norm) -> float:
    """Return the norm of a vector of that many ones.

    Examples:
        >>> norm_of_ones(9, norm="L2")
        3.0
    """
    return {"Linf": 1.0, "L2": math.sqrt(count), "L1": float(count)}[norm]


def steepest_ascent(grad: Tensor, *, norm: Norm, step_size: float | Tensor) -> Tensor:
    """Return the step of the given length that raises the linearised loss the most.

    For L1 the exact answer moves a single coordinate; here the step is spread over the
    `L1_STEP_DENSITY` share of coordinates with the largest gradient, as in [0].

    - [0] Adversarial Training and Robustness for Multiple Perturbations, 2019,
      https://arxiv.org/abs/1904.13000

    Args:
        grad: Gradients of shape (B, ...).
        norm: "Linf", "L2" or "L1".
        step_size: Length of the step, measured in `norm`: a number, or a tensor of
            shape (B,) with one per sample.

    Returns:
        Steps of shape (B, ...); zero where the gradient of a sample is zero.

    Examples:
        >>> steepest_ascent(torch.tensor([[3.0, -4.0]]), norm="L2", step_size=1.0)
        tensor([[ 0.6000, -0.8000]])
    """
    return _ASCENT[norm](grad, step_size)


def project(delta: Tensor, *, norm: Norm, radius: float) -> Tensor:
    """Return the nearest point (in L2) of the ball around zero, for every sample.

    Args:
        delta: Perturbations of shape (B, ...).
        norm: "Linf", "L2" or "L1".
        radius: Radius of the ball.

    Returns:
        Tensor of shape (B, ...).

    Examples:
        >>> project(torch.tensor([[0.6, -0.2]]), norm="L1", radius=0.5)
        tensor([[ 0.4500, -0.0500]])
    """
    return _PROJECTION[norm](delta, radius)


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) to (B, 1, ..., 1), to broadcast over samples."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _lengths(step_size: float | Tensor, like: Tensor) -> float | Tensor:
    if isinstance(step_size, Tensor):
        return _per_sample(step_size.to(like.dtype), like)
    return step_size


def _gaussian_direction(
    like: Tensor, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    direction = sampling.gaussian(like, generator=generator)
    return direction, _per_sample(direction.flatten(1).norm(dim=1), like)


def _laplace_direction(
    like: Tensor, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    uniform = sampling.uniform(like, generator=generator).sub_(0.5)
    tiny = torch.finfo(like.dtype).tiny
    magnitude = -(1 - 2 * uniform.abs()).clamp_(min=tiny).log_()
    direction = uniform.sign() * magnitude
    return direction, _per_sample(magnitude.flatten(1).sum(1), like)


def _ascent_linf(grad: Tensor, step_size: float | Tensor) -> Tensor:
    return grad.sign().mul_(_lengths(step_size, grad))


def _ascent_l2(grad: Tensor, step_size: float | Tensor) -> Tensor:
    # Dividing by the largest entry first keeps tiny gradients from underflowing.
    tiny = torch.finfo(grad.dtype).tiny
    scaled = grad / _per_sample(norm(grad, norm="Linf"), grad).clamp(min=tiny)
    length = _per_sample(norm(scaled, norm="L2"), grad)
    # Not clamped: a long step over a tiny number is infinite, and 0 times that is NaN.
    length = length.masked_fill(length == 0, 1)
    return scaled * (_lengths(step_size, grad) / length)


def _ascent_l1(grad: Tensor, step_size: float | Tensor) -> Tensor:
    flat = grad.flatten(1)
    count = max(1, round(L1_STEP_DENSITY * flat.shape[1]))
    chosen = flat.abs().topk(count, dim=1).indices
    signs = flat.gather(1, chosen).sign()
    active = signs.abs().sum(dim=1, keepdim=True).clamp(min=1)
    lengths = _lengths(step_size, flat)
    step = torch.zeros_like(flat).scatter_(1, chosen, signs * (lengths / active))
    return step.view_as(grad)


def _project_linf(delta: Tensor, radius: float) -> Tensor:
    return delta.clamp(-radius, radius)


def _project_l2(delta: Tensor, radius: float) -> Tensor:
    tiny = torch.finfo(delta.dtype).tiny
    length = _per_sample(norm(delta, norm="L2"), delta).clamp(min=tiny)
    return delta * (radius / length).clamp(max=1)


def _project_l1(delta: Tensor, radius: float) -> Tensor:
    """Soft-threshold at the level that makes the norm equal to the radius.

    - [0] Efficient Projections onto the l1-Ball for Learning in High Dimensions,
      2008, https://doi.org/10.1145/1390156.1390176
    """
    size = delta.flatten(1).abs()
    ordered = size.sort(dim=1, descending=True).values
    excess = _cumsum(ordered) - radius
    ranks = torch.arange(1, size.shape[1] + 1, device=size.device)
    support = (ordered * ranks > excess).sum(dim=1, keepdim=True).clamp(min=1)
    level = excess.gather(1, support - 1) / support
    level = level.clamp(min=0)  # a point inside the ball stays where it is
    shrunk = (size - level).clamp(min=0).view_as(delta)
    return delta.sign() * shrunk


def _cumsum(ordered: Tensor) -> Tensor:
    """Add up along dimension 1."""
    if not (ordered.is_cuda and torch.are_deterministic_algorithms_enabled()):
        return ordered.cumsum(dim=1)
    return _integer_cumsum(ordered)


def _integer_cumsum(ordered: Tensor) -> Tensor:
    """Add up in integers, whose sum does not depend on the order as on a GPU."""
    top = ordered.amax(dim=1, keepdim=True).double().clamp(min=1e-300)
    unit = top * ordered.shape[1] * 2.0**-62
    whole = (ordered.double() / unit).long().cumsum(dim=1)
    return (whole.double() * unit).to(ordered.dtype)


_ORDER = {"Linf": float("inf"), "L2": 2.0, "L1": 1.0}
_DIRECTION: dict[str, Callable[[Tensor, Generator | None], tuple[Tensor, Tensor]]] = {
    "L2": _gaussian_direction,
    "L1": _laplace_direction,
}
_ASCENT: dict[str, Callable[[Tensor, float | Tensor], Tensor]] = {
    "Linf": _ascent_linf,
    "L2": _ascent_l2,
    "L1": _ascent_l1,
}
_PROJECTION: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Linf": _project_linf,
    "L2": _project_l2,
    "L1": _project_l1,
}
