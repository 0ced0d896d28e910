"""What an adversary may do to an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

import torch
from torch import Generator, Tensor, nn

from lightly_adv.errors import NotFiniteError, OutOfRangeError
from lightly_adv.functional import norms, pixels, sampling, validation, value_range
from lightly_adv.functional.value_range import Excess
from lightly_adv.types import Norm, NormalizeStats

RANGE_TOLERANCE = value_range.TOLERANCE
"""How far outside of the bounds a pixel still moves, as a share of their width."""


class PerturbationBox(NamedTuple):
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
            format (`lightly.transforms.utils.IMAGENET_NORMALIZE`), with one value per
            channel, or as a pair (mean, std). A single number holds for all channels.
            None where views are plain pixels in [0, 1].
        bounds: Smallest and largest valid pixel. All other lengths are in its units:
            with `bounds=(0, 255)`, mean and std in levels, `eps=8` and `step_size=2`.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If an argument is not finite, negative or inconsistent.

    Examples:
        >>> threat_model = ThreatModel(norm="Linf", eps=8 / 255)
        >>> views = torch.rand(4, 3, 32, 32)
        >>> delta = threat_model.random_start(threat_model.box(views))
        >>> bool(delta.abs().max() <= 8 / 255)
        True
    """

    norm: Norm = "Linf"
    eps: float = 8 / 255
    normalize: NormalizeStats | None = field(default=None, hash=False)
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Validate the arguments."""
        validation.check_choice("norm", self.norm, get_args(Norm))
        bounds = validation.as_bounds(self.bounds)
        eps = validation.as_number("eps", self.eps)
        if self.norm == "Linf":
            validation.check_length("eps", eps, bounds, what="is larger")
            validation.check_levels(eps, bounds)
        normalize = validation.as_normalize(self.normalize)
        for name, value in (("bounds", bounds), ("eps", eps), ("normalize", normalize)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_timm(
        cls, model: nn.Module, *, norm: Norm = "Linf", eps: float = 8 / 255
    ) -> ThreatModel:
        """Take mean and std from the configuration that a timm backbone carries.

        Raises:
            ValueError: If the model has no such configuration.
        """
        stats = pixels.stats_of_timm(model)
        if stats is None:
            raise ValueError(
                f"{type(model).__name__} has no pretrained_cfg with mean and std; "
                "pass ThreatModel(normalize={'mean': ..., 'std': ...}) yourself."
            )
        return cls(norm=norm, eps=eps, normalize=stats)

    def overshoot(self, views: Sequence[Tensor]) -> Excess | None:
        """Tell how pixels leave the bounds, over all views of a batch together.

        Resizing with a bicubic filter, noise and jitter take some pixels a little
        outside; there they stay, see `box`.

        Args:
            views: Tensors of shape (B, ..., C, H, W).

        Returns:
            None where all pixels are inside.

        Raises:
            TypeError: If a view does not have a floating dtype.
            NotFiniteError: If a view is not finite.
            OutOfRangeError: If so many pixels lie outside, or so far, that the views
                must be normalised in another way than `normalize` says.
        """
        positions = [self._position(view) for view in views]
        channels = 1 if self.normalize is None else len(self.normalize["mean"])
        found = value_range.excess(positions, self.bounds, channels=channels)
        if found is None:
            return None
        if not (math.isfinite(found.low) and math.isfinite(found.high)):
            raise NotFiniteError(_range_message(self, found))
        if found.mistaken:
            raise OutOfRangeError(_range_message(self, found))
        return found

    def box(self, view: Tensor) -> PerturbationBox:
        """Return how far every pixel of a view can move inside the bounds.

        A pixel outside of the bounds moves back at most, never further out; one that
        lies outside by more than `RANGE_TOLERANCE` of their width does not move.

        Args:
            view: Images of shape (B, ..., C, H, W), floating dtype.

        Raises:
            TypeError: If the view does not have a floating dtype.
            ValueError: If the view is none of pixels, see `overshoot`, or if the ball
                is larger than any image.
        """
        self.overshoot([view])
        return self.unchecked_box(view)

    def unchecked_box(self, view: Tensor) -> PerturbationBox:
        """Return the same as `box`, for a view whose pixels have been looked at.

        Raises:
            TypeError: If the view does not have a floating dtype.
            ValueError: If the ball is larger than any image.
        """
        position = self._position(view)
        self._check_radius(position)
        _, std = pixels.channel_stats(position, self.normalize)
        low, high = self.bounds
        lower, upper = low - position, high - position
        slack = RANGE_TOLERANCE * (high - low)
        still = (lower > slack) | (upper < -slack)
        # Views a rounding error outside of the bounds are left there, not moved.
        lower = lower.clamp_(max=0).masked_fill_(still, 0)
        upper = upper.clamp_(min=0).masked_fill_(still, 0)
        return PerturbationBox(lower, upper, std)

    def _position(self, view: Tensor) -> Tensor:
        _check_floating(view)
        return pixels.to_pixels(_working_precision(view), self.normalize)

    def random_start(
        self,
        box: PerturbationBox,
        *,
        std: float | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw a pixel perturbation from the ball, then clip it to bounds.

        Args:
            box: What `box(view)` returned.
            std: None draws uniformly from the ball; a number draws every pixel from a
                normal distribution of this standard deviation, and projects.
            generator: Source of randomness, on any device.

        Returns:
            Tensor of the shape of the view, in float32 or wider.
        """
        if std is not None:
            return self.project(
                sampling.gaussian(box.lower, generator=generator).mul_(std), box
            )
        point = norms.random_point(
            box.lower, norm=self.norm, radius=self.eps, generator=generator
        )
        return self.project(point, box)

    def ascend(
        self,
        delta: Tensor,
        grad: Tensor,
        box: PerturbationBox,
        *,
        step_size: float | Tensor,
    ) -> Tensor:
        """Take a steepest-ascent step in pixels and project it back.

        Args:
            delta: Pixel perturbation of shape (B, ..., C, H, W).
            grad: Gradient of the loss with respect to the perturbed view, as the
                model sees it; the chain rule to pixels is applied here.
            box: What `box(view)` returned.
            step_size: Length of the step, in pixels, measured in `norm`: a number, or
                a tensor of shape (B,).
        """
        grad = grad.to(delta.dtype) / box.std
        if self.norm == "L1":
            grad = _movable(delta, grad, box)
        step = norms.steepest_ascent(grad, norm=self.norm, step_size=step_size)
        return self.project(step.add_(delta), box)

    def project(self, delta: Tensor, box: PerturbationBox) -> Tensor:
        """Project a pixel perturbation onto the ball, then clip it to the bounds.

        Both hold afterwards: clipping moves every pixel towards zero.
        """
        delta = norms.project(delta, norm=self.norm, radius=self.eps)
        return torch.clamp(delta, box.lower, box.upper)

    def apply(self, view: Tensor, delta: Tensor, box: PerturbationBox) -> Tensor:
        """Add a pixel perturbation to a view: `view + delta / std`.

        Unperturbed pixels are bit for bit those of the view, in its own dtype and
        memory format.
        """
        moved = (view + delta / box.std).to(view.dtype)
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
        box = self.unchecked_box(view)
        moved = _working_precision(perturbed) - _working_precision(view)
        delta = moved * box.std
        slack = _rounding(view) * max(map(abs, self.bounds))
        count = delta[0].numel() if len(delta) else 1
        spread = norms.norm_of_ones(count, norm=self.norm)
        size = norms.norm(delta, norm=self.norm).max() if len(delta) else 0.0
        if not size <= self.eps + slack * spread:
            raise ValueError(
                f"the perturbation has {self.norm} norm {float(size):.6g}, more than "
                f"eps={self.eps:.6g}; the attack must project its result."
            )
        outside = torch.maximum(box.lower - delta, delta - box.upper).amax()
        if not outside <= slack:
            raise ValueError(
                f"perturbed pixels leave the bounds {self.bounds} by "
                f"{float(outside):.3g}; the attack must clip its result."
            )

    def _check_radius(self, position: Tensor) -> None:
        count = position[0].numel()
        width = self.bounds[1] - self.bounds[0]
        largest = width * norms.norm_of_ones(count, norm=self.norm)
        if self.eps > largest:
            raise ValueError(
                f"eps={self.eps:g} is larger than the {self.norm} distance between "
                f"any two images of {count} pixels ({largest:g}); eps is in the "
                f"units of bounds={self.bounds}, so did you mean "
                f"eps={self.eps:g} / 255?"
            )


def _movable(delta: Tensor, grad: Tensor, box: PerturbationBox) -> Tensor:
    """Zero the gradient of pixels that already stand at the bound it points to.

    An L1 step moves few pixels; without this it would be spent on those that the
    projection puts back.
    """
    stuck = ((grad > 0) & (delta >= box.upper)) | ((grad < 0) & (delta <= box.lower))
    return grad.masked_fill(stuck, 0)


def _working_precision(tensor: Tensor) -> Tensor:
    """Perturbations are kept in float32, or float64 where the views are."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _rounding(view: Tensor) -> float:
    """Largest rounding error of a pixel, given the dtype of the view."""
    return max(1e-6, 2 * torch.finfo(view.dtype).eps)


def _check_floating(view: Tensor) -> None:
    if not view.is_floating_point():
        raise TypeError(
            f"a view has dtype {view.dtype}; expected a floating dtype. Scale images "
            "to [0, 1] first, for instance with torchvision's "
            "v2.ToDtype(torch.float32, scale=True)."
        )


def _range_message(threat_model: ThreatModel, found: Excess) -> str:
    low, high = threat_model.bounds
    width = high - low
    seen = f"a view spans [{found.low:.4g}, {found.high:.4g}] in pixels"
    expected = f"expected values inside {[low, high]}"
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        remedy = "the images hold NaN or inf; look at the transform."
    elif found.high > low + 16 * width:
        remedy = (
            "the images look like 0..255; divide them by 255, or give bounds=(0, "
            "255) with eps and step_size in the same units."
        )
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
    return (
        f"{seen}, {100 * found.share:.2g} % of them outside, {expected}: {remedy} If "
        "they only overshoot, clamp them in the transform, or widen bounds=."
    )
