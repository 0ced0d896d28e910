"""What an adversary may do to a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

import torch
from torch import Generator, Tensor, nn

from lightly_adv.functional import norms, pixels
from lightly_adv.types import Norm, Normalize

RANGE_TOLERANCE = 1e-3
"""How far outside of the bounds a view may lie before it is refused, in pixels."""


class Room(NamedTuple):
    """The box of pixel perturbations that keep one view inside the bounds."""

    lower: Tensor
    upper: Tensor
    std: Tensor


@dataclass(frozen=True)
class ThreatModel:
    """A norm ball around each view, in pixels, cut to the range of valid pixels.

    Args:
        norm: "Linf", "L2" or "L1", taken per sample over all other dimensions.
        eps: Radius in pixel units, where pixels lie in [0, 1]: 8 / 255, not 8.
        normalize: Mean and std with which the views were normalised, in Lightly's
            format (`lightly.transforms.utils.IMAGENET_NORMALIZE`). None where
            views are plain pixels in [0, 1].
        bounds: Smallest and largest valid pixel.

    Raises:
        ValueError: If an argument is not finite, negative or inconsistent.

    Examples:
        >>> threat_model = ThreatModel(norm="Linf", eps=8 / 255)
        >>> views = torch.rand(4, 3, 32, 32)
        >>> delta = threat_model.random_start(threat_model.room(views))
        >>> bool(delta.abs().max() <= 8 / 255)
        True
    """

    norm: Norm = "Linf"
    eps: float = 8 / 255
    normalize: Normalize | None = field(default=None, hash=False)
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        _check_norm(self.norm)
        _check_eps(self.norm, self.eps)
        _check_normalize(self.normalize)
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"bounds={self.bounds} is not a range; expected (low, high) with "
                "low < high, such as (0.0, 1.0)."
            )

    @classmethod
    def from_timm(
        cls, model: nn.Module, *, norm: Norm = "Linf", eps: float = 8 / 255
    ) -> ThreatModel:
        """Take mean and std from the configuration that a timm backbone carries.

        Raises:
            ValueError: If the model has no such configuration.
        """
        config = getattr(model, "pretrained_cfg", None) or {}
        if not {"mean", "std"} <= set(config):
            raise ValueError(
                f"{type(model).__name__} has no pretrained_cfg with mean and std; "
                "pass ThreatModel(normalize={'mean': ..., 'std': ...}) yourself."
            )
        stats: Normalize = {"mean": config["mean"], "std": config["std"]}
        return cls(norm=norm, eps=eps, normalize=stats)

    def room(self, view: Tensor) -> Room:
        """Return how far every pixel of a view can move inside the bounds.

        Args:
            view: Pictures of shape (B, ..., C, H, W), floating dtype.

        Raises:
            TypeError: If the view does not have a floating dtype.
            ValueError: If the view leaves the bounds by more than `RANGE_TOLERANCE`,
                or if the ball is larger than any picture.
        """
        _check_floating(view)
        view = _working_precision(view)
        _, std = pixels.channel_stats(view, self.normalize)
        position = pixels.to_pixels(view, self.normalize)
        self._check_range(position)
        self._check_radius(position)
        low, high = self.bounds
        # Views a rounding error outside of the bounds are left there, not moved.
        lower = (low - position).clamp_(max=0)
        upper = (high - position).clamp_(min=0)
        return Room(lower, upper, std)

    def random_start(
        self,
        room: Room,
        *,
        std: float | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw a pixel perturbation from the ball, then clip it to bounds.

        Args:
            room: What `room(view)` returned.
            std: None draws uniformly from the ball; a number draws every pixel from a
                normal distribution of this standard deviation, and projects.
            generator: Source of randomness, on any device.

        Returns:
            Tensor of the shape of the view, in float32 or wider.
        """
        if std is not None:
            return self.project(
                norms.gaussian(room.lower, generator=generator).mul_(std), room
            )
        point = norms.random_point(
            room.lower, norm=self.norm, radius=self.eps, generator=generator
        )
        return self.project(point, room)

    def ascend(
        self, delta: Tensor, grad: Tensor, room: Room, *, step_size: float | Tensor
    ) -> Tensor:
        """Take a steepest-ascent step in pixels and project it back.

        Args:
            delta: Pixel perturbation of shape (B, ..., C, H, W).
            grad: Gradient of the loss with respect to the perturbed view, as the
                model sees it; the chain rule to pixels is applied here.
            room: What `room(view)` returned.
            step_size: Length of the step, in pixels, measured in `norm`: a number, or
                a tensor of shape (B,).
        """
        grad = grad.to(delta.dtype) / room.std
        if self.norm == "L1":
            grad = _movable(delta, grad, room)
        step = norms.steepest_ascent(grad, norm=self.norm, step_size=step_size)
        return self.project(step.add_(delta), room)

    def project(self, delta: Tensor, room: Room) -> Tensor:
        """Project a pixel perturbation onto the ball, then clip it to the bounds.

        Both hold afterwards: clipping moves every pixel towards zero.
        """
        delta = norms.project(delta, norm=self.norm, radius=self.eps)
        return torch.clamp(delta, room.lower, room.upper)

    def apply(self, view: Tensor, delta: Tensor, room: Room) -> Tensor:
        """Add a pixel perturbation to a view: `view + delta / std`.

        Unperturbed pixels are bit for bit those of the view, in its own dtype and
        memory format.
        """
        moved = (view + delta / room.std).to(view.dtype)
        # `where` takes the memory format of its condition: give it that of the view.
        still = torch.empty_like(view, dtype=torch.bool).copy_(delta == 0)
        return torch.where(still, view, moved)

    def check(self, view: Tensor, perturbed: Tensor) -> None:
        """Verify that a perturbed view is one that this threat model allows.

        Raises:
            ValueError: If the perturbation leaves the ball or the bounds, with the
                largest value seen.
        """
        if perturbed.shape != view.shape or perturbed.dtype != view.dtype:
            raise ValueError(
                f"the perturbed view has shape {tuple(perturbed.shape)} and dtype "
                f"{perturbed.dtype}, expected {tuple(view.shape)} and {view.dtype}."
            )
        room = self.room(view)
        moved = _working_precision(perturbed) - _working_precision(view)
        delta = moved * room.std
        slack = _rounding(view)
        count = delta[0].numel() if len(delta) else 1
        spread = {"Linf": 1.0, "L2": count**0.5, "L1": float(count)}[self.norm]
        size = norms.norm(delta, norm=self.norm).max() if len(delta) else 0.0
        if not size <= self.eps + slack * spread:
            raise ValueError(
                f"the perturbation has {self.norm} norm {float(size):.6g}, more than "
                f"eps={self.eps:.6g}; the attack must project its result."
            )
        outside = torch.maximum(room.lower - delta, delta - room.upper).amax()
        if not outside <= slack:
            raise ValueError(
                f"perturbed pixels leave the bounds {self.bounds} by "
                f"{float(outside):.3g}; the attack must clip its result."
            )

    def _check_range(self, position: Tensor) -> None:
        low, high = (float(value) for value in position.aminmax())
        if not (
            low >= self.bounds[0] - RANGE_TOLERANCE
            and high <= self.bounds[1] + RANGE_TOLERANCE
        ):
            raise ValueError(_range_message(self, low, high))

    def _check_radius(self, position: Tensor) -> None:
        count = position[0].numel()
        width = self.bounds[1] - self.bounds[0]
        largest = width * {"Linf": 1.0, "L2": count**0.5, "L1": float(count)}[self.norm]
        if self.eps > largest:
            raise ValueError(
                f"eps={self.eps:g} is larger than the {self.norm} distance between "
                f"any two pictures of {count} pixels ({largest:g}); eps is in pixel "
                "units of [0, 1], so divide by 255."
            )


def _movable(delta: Tensor, grad: Tensor, room: Room) -> Tensor:
    """Zero the gradient of pixels that already stand at the bound it points to.

    An L1 step moves few pixels; without this it would be spent on those that the
    projection puts back.
    """
    stuck = ((grad > 0) & (delta >= room.upper)) | ((grad < 0) & (delta <= room.lower))
    return grad.masked_fill(stuck, 0)


def _working_precision(tensor: Tensor) -> Tensor:
    """Perturbations are kept in float32, or float64 where the views are."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _rounding(view: Tensor) -> float:
    """Largest rounding error of a pixel, given the dtype of the view."""
    return max(1e-6, 2 * torch.finfo(view.dtype).eps)


def _check_norm(norm: str) -> None:
    if norm not in get_args(Norm):
        raise ValueError(f"norm={norm!r} is unknown; use one of {get_args(Norm)}.")


def _check_eps(norm: str, eps: Any) -> None:
    if isinstance(eps, bool) or not isinstance(eps, int | float):
        raise TypeError(f"eps={eps!r} is a {type(eps).__name__}; expected a number.")
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps={eps} must be finite and not negative.")
    if norm == "Linf" and eps > 1:
        raise ValueError(
            f"eps={eps:g} is larger than the whole range of a pixel; eps is in pixel "
            f"units of [0, 1], so did you mean eps={eps:g} / 255?"
        )


def _check_normalize(normalize: Normalize | None) -> None:
    if normalize is None:
        return
    mean, std = (_floats(normalize, key) for key in ("mean", "std"))
    if len(mean) != len(std):
        raise ValueError(
            f"normalize has {len(mean)} means and {len(std)} stds; expected one of "
            "each per channel."
        )
    if not all(math.isfinite(value) for value in mean):
        raise ValueError(f"normalize['mean']={mean} must be finite.")
    if not all(math.isfinite(value) and value > 0 for value in std):
        raise ValueError(f"normalize['std']={std} must be finite and positive.")


def _floats(normalize: Normalize, key: str) -> list[float]:
    values = normalize.get(key)
    if values is None:
        raise ValueError(
            f"normalize={normalize} lacks {key!r}; expected a dict with 'mean' and "
            "'std', such as lightly.transforms.utils.IMAGENET_NORMALIZE."
        )
    return [float(value) for value in values]


def _check_floating(view: Tensor) -> None:
    if not view.is_floating_point():
        raise TypeError(
            f"a view has dtype {view.dtype}; expected a floating dtype. Scale pictures "
            "to [0, 1] first, for instance with torchvision's "
            "v2.ToDtype(torch.float32, scale=True)."
        )


def _range_message(threat_model: ThreatModel, low: float, high: float) -> str:
    seen = f"a view spans [{low:.4g}, {high:.4g}] in pixels"
    expected = f"expected values inside {list(threat_model.bounds)}"
    if math.isnan(low) or math.isnan(high):
        remedy = "the pictures hold NaN; look at the transform."
    elif high > 16:
        remedy = "the pictures look like 0..255; divide them by 255."
    elif threat_model.normalize is None:
        remedy = (
            "the views look normalised; pass normalize= with the mean and std of "
            "your transform (Lightly's transforms use IMAGENET_NORMALIZE by default)."
        )
    else:
        remedy = (
            "normalize= does not undo what the transform did; were the views "
            "normalised twice, or with another mean and std?"
        )
    return f"{seen}, {expected}: {remedy}"
