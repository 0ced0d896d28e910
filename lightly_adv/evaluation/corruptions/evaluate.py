"""Measure accuracy on corrupted images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from typing_extensions import Unpack

from lightly_adv.evaluation import sweep
from lightly_adv.evaluation.batches import Batch
from lightly_adv.evaluation.corruptions.cifar_c import CifarC
from lightly_adv.evaluation.corruptions.corruption import (
    SEVERITIES,
    Corruption,
    check_severities,
    corrupt,
    resolve,
)
from lightly_adv.evaluation.corruptions.report import STYLE, CorruptionReport
from lightly_adv.evaluation.evaluation import (
    Evaluation,
    EvaluationOptions,
    check_options,
)
from lightly_adv.evaluation.filters import SIDE
from lightly_adv.types import NormalizeStats


def evaluate_corruptions(
    model: nn.Module,
    loader: Iterable[Any],
    corruptions: str | Sequence[str | Corruption] = "common",
    *,
    severities: Sequence[int] = SEVERITIES,
    files: CifarC | str | os.PathLike[str] | None = None,
    normalize: NormalizeStats | None = None,
    **options: Unpack[EvaluationOptions],
) -> CorruptionReport:
    """Measure how many images are correctly classified when they are corrupted.

    Images are corrupted as they come, each for itself: see `corrupt`. Such numbers are
    "C-style", and compare with each other; published ones take the files of CIFAR-10-C.

    - [0] Benchmarking Neural Network Robustness to Common Corruptions and
      Perturbations, 2019, https://arxiv.org/abs/1903.12261

    Args:
        model: Maps images of shape (B, C, H, W) to logits of shape (B, classes).
        loader: Batches (images, labels) or (images, labels, filenames), with clean
            images of one size, always in the same order.
        corruptions: Corruptions, or their names; "common" means the 15 that the
            benchmark is the mean of, "all" these and the four for tuning.
        severities: From 1 to 5.
        files: CIFAR-10-C or CIFAR-100-C, or its folder, to take the corrupted images
            from. The loader has to give the test set in its own order, in 32 x 32.
        normalize: Mean and std that the transform of the loader has normalised with.
        **options: `max_samples`, `device`, `seed`, `progress` and `state`; see
            `EvaluationOptions`.

    Raises:
        TypeError: If a batch or the output of the model is of the wrong type.
        FileNotFoundError: If a file of CIFAR-10-C is missing.
        ValueError: If there is no image, if images do not suit a corruption, if a name
            or severity is unknown, or if files or state belong to something else.
        UnconfirmedError: See `evaluate_robustness`.

    Examples:
        >>> import torch
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
        >>> loader = [(torch.rand(8, 3, 16, 16), torch.arange(8) % 5)]
        >>> report = evaluate_corruptions(model, loader, ["fog"], severities=[1, 5])
        >>> report.num_samples, len(report.accuracies["fog"])
        (8, 2)
    """
    check_options(evaluate_corruptions, options)
    chosen = resolve(corruptions)
    names = [corruption.name for corruption in chosen]
    levels = check_severities(severities)
    official = CifarC(files) if isinstance(files, str | os.PathLike) else files
    if official is not None:
        official.check(names)
    source = STYLE if official is None else str(official.folder)
    constants = {
        corruption.name: [corruption.levels[level - 1] for level in levels]
        for corruption in chosen
    }
    settings = {"corruptions": constants, "severities": levels, "source": source}
    evaluation = Evaluation(
        {"model": model},
        {**settings, "normalize": normalize},
        **options,
    )
    found = sweep.run(
        evaluation,
        loader,
        dict.fromkeys(names, len(levels)),
        _change(chosen, levels, official, evaluation.seed),
        normalize=normalize,
        check=partial(_check_labels, official),
        description="corrupted",
    )
    # Every image is corrupted for itself.
    facts = {k: v for k, v in evaluation.facts().items() if k != "batch_size"}
    return CorruptionReport(
        clean=found.clean,
        flags=found.flags,
        severities=levels,
        levels=constants,
        image_size=found.image_size,
        source=source,
        warnings=[] if official is not None else _warnings(found.image_size),
        **facts,
    )


def _check_labels(official: CifarC | None, batch: Batch) -> None:
    if official is not None:
        indices = range(batch.first, batch.first + len(batch.labels))
        official.check_labels(batch.labels, indices)


def _change(
    corruptions: Sequence[Corruption],
    severities: Sequence[int],
    official: CifarC | None,
    seed: int,
) -> sweep.Change:
    """Return the function that corrupts the images of a batch."""
    by_name = {corruption.name: corruption for corruption in corruptions}

    def change(
        model: nn.Module, batch: Batch, classes: int
    ) -> Callable[[str, int], Tensor]:
        del model, classes
        images = batch.images
        indices = range(batch.first, batch.first + len(images))

        def corrupted(name: str, level: int) -> Tensor:
            severity = severities[level]
            if official is None:
                return corrupt(
                    images, by_name[name], severity, positions=indices, seed=seed
                )
            found = official.images(name, severity, indices).to(images)
            _check_shape(images, found)
            return found

        return corrupted

    return change


def _check_shape(images: Tensor, corrupted: Tensor) -> None:
    if images.shape != corrupted.shape:
        raise ValueError(
            f"the images of the loader are {tuple(images.shape[1:])}, those of the "
            f"files {tuple(corrupted.shape[1:])}; evaluate without resizing, and "
            "resize inside of the model."
        )


def _warnings(size: tuple[int, int]) -> list[str]:
    if min(size) >= SIDE:
        return []
    return [
        f"the images are {size[0]} x {size[1]}; the strengths are those for "
        f"{SIDE} x {SIDE}, which are too much for smaller images, or too little."
    ]
