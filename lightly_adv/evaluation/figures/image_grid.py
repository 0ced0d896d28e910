"""Images, perturbations and what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightly_adv.evaluation.figures import canvas
from lightly_adv.functional import pixels
from lightly_adv.types import NormalizeStats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 1.15
"""Width of one image, in inches."""

_TIMES = "\N{MULTIPLICATION SIGN}"


@canvas.names_as_they_are
def image_grid(
    clean: Tensor,
    adversarial: Tensor,
    *,
    labels: Tensor,
    clean_predictions: Tensor,
    adversarial_predictions: Tensor,
    class_names: Sequence[str] | None = None,
    normalize: NormalizeStats | None = None,
    amplify: float | None = None,
) -> Figure:
    """Draw images in three rows: clean, perturbation, adversarial.

    Above each image stands what the model takes it for; in red where it is wrong.
    Perturbations are amplified and centred at grey.

    Args:
        clean: Images of shape (N, C, H, W), with 1 or 3 channels.
        adversarial: Their perturbed versions, of the same shape.
        labels: True class numbers, (N,).
        clean_predictions: Predicted class numbers of the clean images, (N,).
        adversarial_predictions: Predicted class numbers of the others, (N,).
        class_names: Names of the classes; None stands for their numbers.
        normalize: Mean and std of the images, None for pixels in [0, 1].
        amplify: Factor on the perturbations. None takes the whole number that makes
            the largest one fill the range from black to white.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If shapes or numbers of images do not fit.

    Examples:
        >>> import torch
        >>> clean = torch.rand(2, 3, 8, 8)
        >>> classes = torch.tensor([0, 1])
        >>> figure = image_grid(
        ...     clean, (clean + 0.03).clamp(max=1), labels=classes,
        ...     clean_predictions=classes, adversarial_predictions=1 - classes,
        ...     class_names=["cat", "dog"],
        ... )
        >>> len(figure.axes)
        6
    """
    verdicts = (labels, clean_predictions, adversarial_predictions)
    _check(clean, adversarial, verdicts)
    before, after = (
        pixels.to_pixels(each.detach().float().cpu(), normalize)
        for each in (clean, adversarial)
    )
    delta = after - before
    factor = _factor(delta) if amplify is None else amplify
    true, first, second = (_names(each, class_names) for each in verdicts)
    empty = [""] * len(true)
    figure = canvas.new_figure(CELL * len(clean) + 1.2, 3 * (CELL + 0.28))
    grid = figure.subplots(3, len(clean), squeeze=False)
    figure.subplots_adjust(0.0, 0.0, 1.0, 1.0, wspace=0.06, hspace=0.24)
    _draw_row(grid[0], "clean", before, first, true)
    _draw_row(
        grid[1],
        f"perturbation\n{_TIMES} {factor:g}",
        0.5 + factor * delta,
        empty,
        empty,
    )
    _draw_row(grid[2], "adversarial", after, second, true)
    return figure


def _check(clean: Tensor, adversarial: Tensor, verdicts: Sequence[Tensor]) -> None:
    if clean.dim() != 4 or clean.shape[1] not in (1, 3) or not len(clean):
        raise ValueError(
            f"the images have shape {tuple(clean.shape)}; expected (N, C, H, W) with "
            "at least one image, of 1 or 3 channels."
        )
    if adversarial.shape != clean.shape:
        raise ValueError(
            f"the adversarial images have shape {tuple(adversarial.shape)}, the "
            f"clean ones {tuple(clean.shape)}; expected the same."
        )
    counts = [len(each) for each in verdicts]
    if set(counts) != {len(clean)}:
        raise ValueError(
            f"there are {len(clean)} images, and {counts} labels, clean and "
            "adversarial predictions; expected one each per image."
        )


def _factor(delta: Tensor) -> float:
    largest = float(delta.abs().max())
    return float(max(1, round(0.5 / largest))) if largest > 0 else 1.0


def _names(classes: Tensor, class_names: Sequence[str] | None) -> list[str]:
    numbers = classes.tolist()
    return [str(class_names[n]) if class_names else str(n) for n in numbers]


def _draw_row(
    row: Sequence[Axes],
    side: str,
    images: Tensor,
    predicted: Sequence[str],
    true: Sequence[str],
) -> None:
    row[0].set_ylabel(side, color=canvas.INK, fontsize=9, labelpad=6)
    shown = images.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    for axes, image, found, expected in zip(row, shown, predicted, true, strict=True):
        axes.imshow(image, interpolation="nearest", cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        color = canvas.INK if found == expected else canvas.WRONG
        axes.set_title(found, color=color, fontsize=9, pad=3)
