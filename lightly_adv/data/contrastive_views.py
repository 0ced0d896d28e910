"""The views that contrastive methods take of small images."""

from __future__ import annotations

import functools
from typing import Any

import torch
from lightly.transforms.multi_view_transform import MultiViewTransform
from lightly.transforms.simclr_transform import SimCLRViewTransform
from torchvision import transforms

from lightly_adv.functional.schedules import StrengthSchedule


class ContrastiveViews(MultiViewTransform):
    """Make strong, weak and clean views of an image, in this order, as pixels.

    A strong view is that of SimCLR for small images without blur, as ACL [0] and its
    successors take it: at strength s a random crop of `1 - 0.9 s` to 1 of the area,
    scaled back, a horizontal flip, colour jitter (0.4 s, 0.4 s, 0.4 s, 0.1 s) of a
    share of 0.8 s, grey of a share of 0.2. A weak view is a crop out of black padding
    and a flip, a clean one the image itself.

    - [0] Robust Pre-Training by Adversarial Contrastive Learning, 2020,
      https://arxiv.org/abs/2010.13337

    Args:
        strong: Number of strong views.
        weak: Number of weak views.
        clean: Number of clean views.
        size: Height and width of all views, in pixels. Weak and clean views need images
            of this size.
        strength: Strength of the strong views, in [0, 1], or a schedule of it.
        min_scale: Smallest area of a strong crop. Defaults to `1 - 0.9 * strength`.
        padding: Black pixels around a weak view.
        flip_probability: Share of the strong and of the weak views that are flipped.

    Raises:
        ValueError: If there is no view, or if a number is out of range.

    Examples:
        >>> from PIL import Image
        >>> transform = ContrastiveViews(strong=2, clean=1, size=8)
        >>> [tuple(view.shape) for view in transform(Image.new("RGB", (8, 8)))]
        [(3, 8, 8), (3, 8, 8), (3, 8, 8)]
    """

    def __init__(
        self,
        strong: int = 2,
        weak: int = 0,
        clean: int = 0,
        *,
        size: int = 32,
        strength: float | StrengthSchedule = 1.0,
        min_scale: float | None = None,
        padding: int = 4,
        flip_probability: float = 0.5,
    ) -> None:
        _check(strong, weak, clean, strength)
        self.counts = (strong, weak, clean)
        self.size = size
        self.schedule = strength if isinstance(strength, StrengthSchedule) else None
        self.min_scale = min_scale
        self.flip_probability = flip_probability
        # In shared memory, so that workers that stay between epochs see it, too.
        self._epoch = torch.zeros((), dtype=torch.long)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        self._strength = strength if isinstance(strength, float | int) else 1.0
        crop = transforms.RandomCrop(size, padding=padding)
        flip = transforms.RandomHorizontalFlip(flip_probability)
        self._weak = transforms.Compose([crop, flip, transforms.ToTensor()])
        self._clean = transforms.Compose([transforms.ToTensor()])

    @property
    def strength(self) -> float:
        """The strength of the strong views in the current epoch."""
        if self.schedule is None:
            return self._strength
        return self.schedule(int(self._epoch))

    def set_epoch(self, epoch: int) -> None:
        """Take the strength of an epoch, counted from 0."""
        self._epoch.fill_(epoch)

    @property
    def transforms(self) -> list[Any]:  # type: ignore[override]
        """What makes each view of a PIL image in the current epoch."""
        strong, weak, clean = self.counts
        return [self._strong()] * strong + [self._weak] * weak + [self._clean] * clean

    def _strong(self) -> SimCLRViewTransform:
        strength = self.strength
        scale = 1.0 - 0.9 * strength if self.min_scale is None else self.min_scale
        return _strong_view(self.size, strength, scale, self.flip_probability)


@functools.lru_cache(maxsize=8)
def _strong_view(
    size: int, strength: float, min_scale: float, flip_probability: float
) -> SimCLRViewTransform:
    """Return the transform of a strength; making it takes longer than applying it."""
    return SimCLRViewTransform(
        input_size=size,
        cj_prob=0.8 * strength,
        cj_strength=0.5 * strength,
        min_scale=min_scale,
        gaussian_blur=0.0,
        hf_prob=flip_probability,
        normalize=None,
    )


def _check(
    strong: int, weak: int, clean: int, strength: float | StrengthSchedule
) -> None:
    counts = (strong, weak, clean)
    if min(counts) < 0 or sum(counts) == 0:
        raise ValueError(
            f"strong={strong}, weak={weak} and clean={clean}; expected at least one "
            "view, and no negative number of them."
        )
    if isinstance(strength, float | int) and not 0 <= strength <= 1:
        raise ValueError(
            f"strength={strength}; expected a number in [0, 1], or a StrengthSchedule."
        )
