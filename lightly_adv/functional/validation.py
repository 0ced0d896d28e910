"""Arguments of threat models and attacks: what is refused, and how it is put."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightly_adv.functional import norms
from lightly_adv.types import Norm, NormalizeStats

Bounds = tuple[float, float]


def check_choice(
    name: str, value: Any, choices: Iterable[str], *, remedy: str = ""
) -> None:
    """Check that a value is one of the choices.

    Args:
        name: Name of the argument.
        value: The value.
        choices: What it may be.
        remedy: What else could be done, such as ", or None".

    Raises:
        ValueError: If it is none of them.

    Examples:
        >>> check_choice("norm", "L3", ("Linf", "L2"))
        Traceback (most recent call last):
        ValueError: norm='L3' is unknown; use one of ('Linf', 'L2').
    """
    known = tuple(choices)
    if value not in known:
        raise ValueError(f"{name}={value!r} is unknown; use one of {known}{remedy}.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question after the near names, followed by a space, if there are any.

    Examples:
        >>> did_you_mean("pdg", ["apgd", "pgd", "fgsm"])
        "Did you mean 'pgd' or 'apgd'? "
    """
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, near))}? " if near else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return that a name is unknown, the near ones, and all that are known.

    Examples:
        >>> unknown("attack", "pdg", ["pgd", "square"])
        "Unknown attack 'pdg'. Did you mean 'pgd'? Known: pgd, square."
    """
    names = list(known)
    listed = ", ".join(names) or "none"
    return f"Unknown {kind} {name!r}. {did_you_mean(name, names)}Known: {listed}."


def as_number(name: str, value: Any, *, positive: bool = False) -> float:
    """Return a number, also one of NumPy or a tensor that holds just one.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not finite, negative, or 0 where it has to be positive.

    Examples:
        >>> as_number("eps", torch.tensor(0.5))
        0.5
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not _is_number(value):
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}; expected a number."
        )
    number = value if isinstance(value, int) else float(value)
    if not (math.isfinite(number) and number >= 0 and (number > 0 or not positive)):
        kind = "positive" if positive else "not negative"
        raise ValueError(f"{name}={value} must be finite and {kind}.")
    return number


def check_length(name: str, value: float, bounds: Bounds, *, what: str) -> None:
    """Refuse an L-inf length that no pixel can be moved by.

    Args:
        name: Name of the argument.
        value: The length, in the units of the bounds.
        bounds: Smallest and largest valid pixel.
        what: What is wrong with it, such as "is longer".

    Raises:
        ValueError: If it is more than the width of the bounds.

    Examples:
        >>> check_length("eps", 8, (0.0, 1.0), what="is larger")
        Traceback (most recent call last):
        ValueError: eps=8 is larger than the whole range of a pixel; ...
    """
    low, high = bounds
    if value <= high - low:
        return
    if bounds == (0.0, 1.0):
        remedy = (
            f"it is in pixel units of [0, 1], so did you mean {name}={value:g} / 255? "
            "For images in levels of 0..255 pass bounds=(0, 255) as well."
        )
    else:
        remedy = f"it is in the units of bounds={bounds}, so expected at most {{:g}}."
    raise ValueError(
        f"{name}={value:g} {what} than the whole range of a pixel; "
        + remedy.format(high - low)
    )


def check_levels(eps: float, bounds: Bounds) -> None:
    """Refuse a fraction of 255 where the bounds are in levels: a ball of nothing.

    Raises:
        ValueError: If eps is k / 255 for a k up to 64, and less than a tenth of an
            8-bit level of these bounds.

    Examples:
        >>> check_levels(8 / 255, (0.0, 255.0))
        Traceback (most recent call last):
        ValueError: eps=0.0313725 is 8/255, but it is in the units of bounds=(0.0, ...
    """
    low, high = bounds
    levels = round(255 * eps)
    is_fraction = 1 <= levels <= 64 and abs(255 * eps - levels) < 1e-6
    if is_fraction and eps < (high - low) / 2550:
        meant = levels * (high - low) / 255
        raise ValueError(
            f"eps={eps:g} is {levels}/255, but it is in the units of bounds={bounds}, "
            f"of which that is next to nothing; did you mean eps={meant:g}?"
        )


def check_radius(
    eps: float, shape: Sequence[int], *, norm: Norm, bounds: Bounds
) -> None:
    """Refuse a ball that is larger than any image.

    Args:
        eps: Its radius.
        shape: That of an image.
        norm: The norm.
        bounds: Smallest and largest valid pixel.

    Raises:
        ValueError: If no two images are that far apart.

    Examples:
        >>> check_radius(128, (3, 8, 8), norm="L2", bounds=(0.0, 1.0))
        Traceback (most recent call last):
        ValueError: eps=128 is larger than the L2 distance between any two images ...
    """
    count = math.prod(shape)
    largest = (bounds[1] - bounds[0]) * norms.norm_of_ones(count, norm=norm)
    if eps > largest:
        raise ValueError(
            f"eps={eps:g} is larger than the {norm} distance between any two images "
            f"of {count} pixels ({largest:g}); eps is in the units of "
            f"bounds={bounds}, so did you mean eps={eps:g} / 255?"
        )


def check_floating(view: Tensor) -> None:
    """Refuse views of integers.

    Raises:
        TypeError: If the dtype is not floating.
    """
    if not view.is_floating_point():
        raise TypeError(
            f"a view has dtype {view.dtype}; expected a floating dtype. Scale images "
            "to [0, 1] first, for instance with torchvision's "
            "v2.ToDtype(torch.float32, scale=True)."
        )


def as_bounds(bounds: Any) -> Bounds:
    """Return bounds as a pair of numbers.

    Raises:
        ValueError: If they are no range.

    Examples:
        >>> as_bounds([0, 255])
        (0.0, 255.0)
    """
    try:
        low, high = (float(value) for value in bounds)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"bounds={bounds} is not a range; expected (low, high) with "
            "low < high, such as (0.0, 1.0)."
        )
    return low, high


def as_normalize(normalize: Any) -> NormalizeStats | None:
    """Return mean and std with one number per channel, whatever form they came in.

    Taken are a mapping with "mean" and "std", a pair of both, and an object that has
    both as attributes, as the Normalize of torchvision; with numbers, sequences,
    arrays or tensors in them, also of shape (C, 1, 1). A single number holds for all
    channels.

    Raises:
        TypeError: If it is something else.
        ValueError: If there are not as many of both, or values that cannot be meant.

    Examples:
        >>> as_normalize(([0.5, 0.5, 0.5], 0.25))
        {'mean': [0.5, 0.5, 0.5], 'std': [0.25, 0.25, 0.25]}
    """
    if normalize is None:
        return None
    given = _mean_and_std(normalize)
    mean, std = (_channels(given[key], key) for key in ("mean", "std"))
    count = max(len(mean), len(std))
    mean, std = (
        values * count if _is_single(given[key]) else values
        for key, values in (("mean", mean), ("std", std))
    )
    if len(mean) != len(std):
        raise ValueError(
            f"normalize has {len(mean)} means and {len(std)} stds; expected one of "
            "each per channel."
        )
    if not all(math.isfinite(value) for value in mean):
        raise ValueError(f"normalize['mean']={mean} must be finite.")
    if not all(math.isfinite(value) and value > 0 for value in std):
        raise ValueError(f"normalize['std']={std} must be finite and positive.")
    plain = isinstance(normalize, Mapping) and all(
        _is_plain(normalize[key]) for key in ("mean", "std")
    )
    return normalize if plain else {"mean": mean, "std": std}


_FORMS = (
    "expected a dict with 'mean' and 'std', one number per channel of the images, "
    "such as lightly.transforms.utils.IMAGENET_NORMALIZE, a pair (mean, std), or None."
)


def _mean_and_std(normalize: Any) -> Mapping[str, Any]:
    if isinstance(normalize, Mapping):
        for key in ("mean", "std"):
            if normalize.get(key) is None:
                raise ValueError(f"normalize={normalize} lacks {key!r}; {_FORMS}")
        return normalize
    if isinstance(normalize, Sequence) and not isinstance(normalize, str):
        if len(normalize) != 2:
            raise ValueError(
                f"normalize is a {type(normalize).__name__} of {len(normalize)}; "
                f"{_FORMS}"
            )
        return {"mean": normalize[0], "std": normalize[1]}
    if hasattr(normalize, "mean") and hasattr(normalize, "std"):
        both = {"mean": normalize.mean, "std": normalize.std}
        if not any(callable(value) for value in both.values()):
            return both
    raise TypeError(f"normalize={normalize!r} is not understood; {_FORMS}")


def _channels(values: Any, key: str) -> list[float]:
    try:
        found = torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"normalize[{key!r}]={values!r} is not understood; {_FORMS}"
        ) from error
    if sum(size > 1 for size in found.shape) > 1 or not found.numel():
        raise ValueError(
            f"normalize[{key!r}] has shape {tuple(found.shape)}; expected one number "
            "per channel. Of a mean image take the mean over its pixels."
        )
    return [float(value) for value in found.flatten()]


def _is_plain(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)


def _is_single(values: Any) -> bool:
    return not isinstance(values, list | tuple) and torch.as_tensor(values).dim() == 0
