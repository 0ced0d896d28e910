"""Lightly's and torchvision's transforms of one image, for a batch on its device."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lightly_adv.transforms import color, resampling
from lightly_adv.transforms.blur import GaussianBlur
from lightly_adv.transforms.crop import RandomCrop, RandomResizedCrop
from lightly_adv.transforms.flip import HorizontalFlip, VerticalFlip
from lightly_adv.transforms.operation import Compose, Operation, RandomApply


class BatchedTransform(nn.Module):
    """Make the views of a whole batch where its images are, such as on a GPU.

    It does what a transform of Lightly or torchvision does to one image, with the same
    operations and parameters in the same order, and draws new parameters for each
    image and view. The loader gives images as they are, uint8, and no worker spends
    time on them. Nothing waits for the device.

    Crops, flips, colour jitter, grey, Gaussian blur, solarisation and normalisation
    are known, by themselves or within `Compose`, `RandomApply`, `nn.Sequential` and the
    views of Lightly; classes of one's own are not, whatever their names. Numbers differ
    a little from those of Pillow, which rounds to 256 levels after each operation. Its
    Gaussian blur is an approximation that repeats the pixels at the border; here they
    are reflected, as in torchvision.

    Args:
        transform: A transform such as `SimCLRTransform` or `DINOTransform`, or a
            `Compose` of torchvision.

    Raises:
        ValueError: If there is an operation in it that is not known for batches, or
            parameters of one that are not.

    Examples:
        >>> from lightly.transforms import SimCLRTransform
        >>> transform = BatchedTransform(SimCLRTransform(input_size=32))
        >>> images = torch.randint(256, (8, 3, 40, 40), dtype=torch.uint8)
        >>> [view.shape for view in transform(images)]
        [torch.Size([8, 3, 32, 32]), torch.Size([8, 3, 32, 32])]
    """

    def __init__(self, transform: Any) -> None:
        super().__init__()
        # A subclass may choose its views, as long as they are called in the same way.
        call = type(transform).__call__
        several = getattr(call, "__module__", None) in _MULTI_VIEW_CALLS
        views = transform.transforms if several else [transform]
        self.views = tuple(Compose(tuple(_operations(view))) for view in views)

    @torch.no_grad()
    def forward(
        self, images: Tensor, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return the views of a batch.

        Args:
            images: Images of shape (B, 3, H, W), uint8 or floats in [0, 1].
            generator: Where the randomness comes from, on the device of the images.
                Defaults to the global generator of that device.

        Returns:
            A list with one tensor for each view, float32 for uint8 images.

        Raises:
            ValueError: If the images have another shape or dtype, or if the generator
                is on another device.
        """
        pixels = _pixels(images)
        # Under autocast the products of the crops would lose precision.
        with torch.autocast(images.device.type, enabled=False):
            return [view(pixels, generator) for view in self.views]

    def extra_repr(self) -> str:
        """Show the operations of each view."""
        return "\n".join(map(str, self.views))


def _pixels(images: Tensor) -> Tensor:
    if images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images have the shape {tuple(images.shape)}; expected a batch of RGB "
            "images, (B, 3, H, W)."
        )
    if images.dtype == torch.uint8:
        return images / 255
    if not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype}; expected uint8, or floats in [0, 1]."
        )
    return images


def _operations(transform: Any) -> list[Operation]:
    """Return what a transform of one image does, as operations on a batch."""
    _check_library(transform)
    name = type(transform).__name__
    probability = getattr(transform, "p", getattr(transform, "prob", 1.0))
    if probability == 0:
        return []
    if name in _CONVERSIONS:
        _check_conversion(transform)
        return []
    if name in _READERS:
        operations = [_READERS[name](transform)]
    else:
        operations = [x for part in _parts(transform) for x in _operations(part)]
    if probability >= 1:
        return operations
    if len(operations) != 1:
        raise ValueError(
            f"{name} applies {len(operations)} operations with p={probability}; "
            "expected one, in a RandomApply of its own."
        )
    return [RandomApply(operations[0], probability)]


def _parts(transform: Any) -> Iterable[Any]:
    """Return what a transform does, one after the other."""
    name = type(transform).__name__
    if isinstance(transform, nn.Sequential):
        return transform
    if name in ("Compose", "RandomApply"):
        parts: Iterable[Any] = transform.transforms
        return parts
    if _LIGHTLY_VIEWS.fullmatch(name) and "transform" in vars(transform):
        return [transform.transform]
    raise _unknown(transform)


def _check_library(transform: Any) -> None:
    """Refuse what only has the name of an operation that is known."""
    kind = type(transform)
    library = kind.__module__.partition(".")[0]
    if library not in ("lightly", "torchvision") and kind is not nn.Sequential:
        raise _unknown(transform)


def _unknown(transform: Any) -> ValueError:
    kind = type(transform)
    return ValueError(
        f"{kind.__module__}.{kind.__qualname__} is not known for batches; expected one "
        f"of torchvision or Lightly: {', '.join(_READERS)}. Leave the transform to the "
        "loader, or take this part out."
    )


def _check_conversion(transform: Any) -> None:
    dtype = getattr(transform, "dtype", torch.float32)
    scale = getattr(transform, "scale", True)
    if dtype != torch.uint8 and not (dtype == torch.float32 and scale):
        raise ValueError(
            f"{type(transform).__name__} has dtype={dtype} and scale={scale}; expected "
            "torch.float32 with scale=True, which is what images become."
        )


def _resized_crop(transform: Any) -> Operation:
    interpolation = getattr(transform.interpolation, "value", transform.interpolation)
    if interpolation not in resampling.KERNELS:
        raise ValueError(
            f"RandomResizedCrop has interpolation={interpolation!r}; expected one of "
            f"{sorted(resampling.KERNELS)}."
        )
    height, width = transform.size
    low, high = transform.scale
    narrow, wide = transform.ratio
    return RandomResizedCrop(
        (height, width), (low, high), (narrow, wide), interpolation
    )


def _padded_crop(transform: Any) -> Operation:
    padding = transform.padding
    padding = 0 if padding is None else padding
    black = transform.fill == 0 and transform.padding_mode == "constant"
    if not isinstance(padding, int) or not black or transform.pad_if_needed:
        raise ValueError(
            f"RandomCrop has padding={padding!r}, fill={transform.fill!r} and "
            f"padding_mode={transform.padding_mode!r}; expected one number of black "
            "pixels. Leave the transform to the loader."
        )
    height, width = transform.size
    return RandomCrop(padding, (height, width))


def _color_jitter(transform: Any) -> Operation:
    ranges = {
        name: tuple(getattr(transform, name))
        for name in ("brightness", "contrast", "saturation", "hue")
        if getattr(transform, name) is not None
    }
    return color.ColorJitter(**ranges)


def _gaussian_blur(transform: Any) -> Operation:
    if hasattr(transform, "sigmas"):  # Lightly's
        return GaussianBlur(tuple(transform.sigmas))
    width, height = transform.kernel_size
    if width != height:
        raise ValueError(
            f"GaussianBlur has kernel_size=({width}, {height}); expected the same "
            "number twice. Leave the transform to the loader."
        )
    low, high = transform.sigma
    return GaussianBlur((low, high), reach=width // 2)


def _solarize(transform: Any) -> Operation:
    threshold = transform.threshold
    return color.Solarize(threshold / 255 if threshold > 1 else threshold)


def _normalize(transform: Any) -> Operation:
    return color.Normalize(tuple(transform.mean), tuple(transform.std))


_READERS: dict[str, Callable[[Any], Operation]] = {
    "RandomResizedCrop": _resized_crop,
    "RandomCrop": _padded_crop,
    "RandomHorizontalFlip": lambda transform: HorizontalFlip(),
    "RandomVerticalFlip": lambda transform: VerticalFlip(),
    "ColorJitter": _color_jitter,
    "RandomGrayscale": lambda transform: color.Grayscale(),
    "GaussianBlur": _gaussian_blur,
    "RandomSolarization": _solarize,
    "RandomSolarize": _solarize,
    "Normalize": _normalize,
}

_CONVERSIONS = ("ToTensor", "PILToTensor", "ToImage", "ToDtype", "ConvertImageDtype")
"""Not needed: the images are tensors, and become floats."""

_MULTI_VIEW_CALLS = (
    "lightly.transforms.multi_view_transform",
    "lightly.transforms.multi_view_transform_v2",
)
"""Where what makes a view with each of the `transforms` is defined."""

_LIGHTLY_VIEWS = re.compile(
    r"\w+View[12]?Transform|(MAE|AIM|CAPI|IJEPA)Transform|RandomRotateDegrees"
)
"""Classes of Lightly that do what their `transform` does."""
