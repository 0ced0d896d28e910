"""What an adversary may do to an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import get_args

import torch
from torch import Generator, Tensor, nn

from lightly_adv.errors import NotFiniteError, OutOfRangeError
from lightly_adv.functional import (
    deferred,
    norms,
    perturbation,
    pixels,
    precision,
    sampling,
    validation,
    value_range,
)
from lightly_adv.functional.perturbation import PerturbationBox as PerturbationBox
from lightly_adv.functional.value_range import Excess
from lightly_adv.types import Norm, NormalizeStats

RANGE_TOLERANCE = value_range.TOLERANCE
"""How far outside of the bounds a pixel still moves, as a share of their width."""


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
        return self.judge(self.measure(views).tolist())

    def measure(self, views: Sequence[Tensor]) -> Tensor:
        """Return where the pixels of views lie, see `value_range.measured`."""
        return self._measured([self._position(view) for view in views])

    def box(self, view: Tensor) -> PerturbationBox:
        """Return how far every pixel of a view can move.

        It stays in the bounds, and under L-inf in the ball. A pixel outside of the
        bounds moves back at most; one that is out by more than `RANGE_TOLERANCE` of
        their width does not move.

        Args:
            view: Images of shape (B, ..., C, H, W), floating dtype.

        Raises:
            TypeError: If the view does not have a floating dtype.
            ValueError: If the view is none of pixels, see `overshoot`, or if the ball
                is larger than any image.
        """
        return self.boxes([view])[0]

    def boxes(
        self,
        views: Sequence[Tensor],
        *,
        tell: Callable[[Excess], None] = lambda excess: None,
    ) -> list[PerturbationBox]:
        """Return the box of every view of a batch, whose range is judged together.

        Inside of a scope of `deferred.checks` it is judged at the end of that.

        Args:
            views: See `box`.
            tell: Is told where pixels overshoot.

        Raises:
            TypeError: See `box`.
            ValueError: See `box`.
        """
        positions = [self._position(view) for view in views]

        def judge(values: list[float]) -> None:
            excess = self.judge(values)
            if excess is not None:
                tell(excess)

        with deferred.checks() as pending:
            pending.add(self._measured(positions), judge)
        return [self._box(position) for position in positions]

    def unchecked_box(self, view: Tensor) -> PerturbationBox:
        """Return the same as `box`, wherever the pixels of the view are."""
        return self._box(self._position(view))

    def _position(self, view: Tensor) -> Tensor:
        validation.check_floating(view)
        view = precision.working(view)
        return (
            view if self.normalize is None else pixels.to_pixels(view, self.normalize)
        )

    def _box(self, position: Tensor) -> PerturbationBox:
        validation.check_radius(
            self.eps, position.shape[1:], norm=self.norm, bounds=self.bounds
        )
        reach = self.eps if self.norm == "Linf" else math.inf
        lower, upper = perturbation.around(position, bounds=self.bounds, reach=reach)
        _, std = pixels.channel_stats(position, self.normalize)
        return PerturbationBox(lower, upper, std, plain=self.normalize is None)

    def _measured(self, positions: Sequence[Tensor]) -> Tensor:
        channels = 1 if self.normalize is None else len(self.normalize["mean"])
        return value_range.measured(positions, self.bounds, channels=channels)

    def judge(self, values: Sequence[float]) -> Excess | None:
        """Return what `measure` has found; see `overshoot`."""
        excess = value_range.judged(values, self.bounds)
        if excess is None or (excess.is_finite and not excess.mistaken):
            return excess
        normalized = self.normalize is not None
        kind = OutOfRangeError if excess.is_finite else NotFiniteError
        raise kind(excess.message(self.bounds, normalized=normalized))

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
        if std is None:
            point = norms.random_point(
                box.lower, norm=self.norm, radius=self.eps, generator=generator
            )
        else:
            point = sampling.gaussian(box.lower, generator=generator).mul_(std)
        return self._projected(point, box)

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
            grad: Gradient of the loss with respect to the perturbed view; the chain
                rule to pixels is applied here.
            box: What `box(view)` returned.
            step_size: Length of the step, in pixels, measured in `norm`: a number, or
                a tensor of shape (B,).
        """
        grad = grad.to(delta.dtype)
        if self.norm == "Linf" and not isinstance(step_size, Tensor):
            # Signs are all that counts; that of NaN is 0.
            step = grad.sign()
            torch.add(delta, step, alpha=step_size, out=step)
            return step.clamp_(box.lower, box.upper)
        grad = box.to_view(grad).nan_to_num(nan=0.0)
        if self.norm == "L1":
            grad = perturbation.movable(delta, grad, box)
        step = norms.steepest_ascent(grad, norm=self.norm, step_size=step_size)
        return self._projected(step.add_(delta), box)

    def project(self, delta: Tensor, box: PerturbationBox) -> Tensor:
        """Project a pixel perturbation onto the ball, then clip it to the bounds.

        Both hold afterwards: clipping moves every pixel towards zero.
        """
        delta = norms.project(delta, norm=self.norm, radius=self.eps)
        return delta.clamp_(box.lower, box.upper)

    def _projected(self, delta: Tensor, box: PerturbationBox) -> Tensor:
        """Do the same to a tensor that nobody else has, in a box of this model."""
        if self.norm == "Linf":  # where the box is the ball, too
            return delta.clamp_(box.lower, box.upper)
        return self.project(delta, box)

    def apply(self, view: Tensor, delta: Tensor, box: PerturbationBox) -> Tensor:
        """Add a pixel perturbation to a view: `view + delta / std`.

        Unperturbed pixels are those of the view, bit for bit.
        """
        return perturbation.added(view, delta, box)

    def check(
        self, view: Tensor, perturbed: Tensor, *, box: PerturbationBox | None = None
    ) -> None:
        """Verify a perturbed view, inside of `deferred.checks` at the end of that.

        Args:
            view: Images of shape (B, ..., C, H, W).
            perturbed: What became of them.
            box: The box of the view, where it is known.

        Raises:
            ValueError: If the perturbation leaves the ball or the bounds, with the
                largest value seen.
        """
        if perturbed.shape != view.shape or perturbed.dtype != view.dtype:
            raise ValueError(
                f"the perturbed view has shape {tuple(perturbed.shape)} and dtype "
                f"{perturbed.dtype}, expected {tuple(view.shape)} and {view.dtype}."
            )
        if not len(view):
            return
        box = box or self.unchecked_box(view)
        perturbation.check(
            view, perturbed, box, norm=self.norm, eps=self.eps, bounds=self.bounds
        )
