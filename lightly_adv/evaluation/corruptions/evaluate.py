"""Measure accuracy on corrupted images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.evaluation import batches, sweep
from lightly_adv.evaluation.corruptions import table
from lightly_adv.evaluation.corruptions.cifar_c import CifarC
from lightly_adv.evaluation.corruptions.corrupt import corrupt
from lightly_adv.evaluation.corruptions.filters import SIDE
from lightly_adv.evaluation.corruptions.report import STYLE, CorruptionReport
from lightly_adv.evaluation.evaluation import Batch, Evaluation
from lightly_adv.evaluation.verdicts import Verdict
from lightly_adv.types import NormalizeStats


def evaluate_corruptions(
    model: nn.Module,
    loader: Iterable[Any],
    corruptions: str | Sequence[str] = "common",
    *,
    severities: Sequence[int] = table.SEVERITIES,
    files: CifarC | str | os.PathLike[str] | None = None,
    max_samples: int | None = None,
    normalize: NormalizeStats | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
    state: str | os.PathLike[str] | None = None,
) -> CorruptionReport:
    """Measure how many images a classifier gets right when they are corrupted.

    The images of the loader are corrupted as they come, each for itself: see
    `corrupt`. Such numbers are "C-style", and compare with each other, not with
    published ones on CIFAR-10-C; those take its files. As with `evaluate_robustness`,
    the model is afterwards what it was.

    - [0] Benchmarking Neural Network Robustness to Common Corruptions and
      Perturbations, 2019, https://arxiv.org/abs/1903.12261

    Args:
        model: Maps images of shape (B, C, H, W) to logits of shape (B, classes).
        loader: Batches (images, labels) or (images, labels, filenames), with clean
            images of one size, always in the same order.
        corruptions: Names of corruptions; "common" stands for the 15 that the benchmark
            is the mean of, "all" for these and the four for tuning.
        severities: From 1 to 5.
        files: CIFAR-10-C or CIFAR-100-C, or the folder that it lies in. The corrupted
            images are then taken from there, and the loader has to give the test set
            in its own order, in 32 x 32.
        max_samples: Evaluate only the first that many images.
        normalize: Mean and std that the transform of the loader has normalised with.
        device: Where to evaluate; the model is moved there, and stays there. None
            stands for the device of the model.
        seed: Seed of the draws.
        progress: Show a progress bar.
        state: File that the results are kept in. If it is there, the evaluation goes on
            behind the batches that it knows; the loader has to give the same ones.

    Returns:
        A report with the accuracies in percent.

    Raises:
        TypeError: If a batch or the output of the model is of the wrong type.
        FileNotFoundError: If a file of CIFAR-10-C is missing.
        ValueError: If the loader is empty, if images leave [0, 1] or do not suit a
            corruption, if a corruption or a severity is unknown, if the files are
            damaged or belong to other images, or if the state is that of another
            evaluation.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
        >>> loader = [(torch.rand(8, 3, 16, 16), torch.arange(8) % 5)]
        >>> found = evaluate_corruptions(model, loader, ["fog"], severities=[1, 5])
        >>> found.num_samples, len(found.accuracies["fog"])
        (8, 2)
    """
    names = table.resolve(corruptions)
    levels = table.check_severities(severities)
    official = CifarC(files) if isinstance(files, str | os.PathLike) else files
    if official is not None:
        official.check(names)
    source = STYLE if official is None else str(official.folder)
    settings = {"corruptions": names, "severities": levels, "source": source}
    evaluation = Evaluation(
        model,
        batches.place(model, device),
        {**settings, "normalize": normalize},
        seed=seed,
        state=state,
        progress=progress,
    )
    kinds = [(name, severity) for name in names for severity in levels]
    with evaluation.undisturbed() as (untouched, _):
        size, loaded = sweep.of_one_size(
            batches.load(
                loader, device=evaluation.device, limit=max_samples, normalize=normalize
            )
        )
        results = evaluation.run(
            _of_the_files(loaded, official),
            sweep.measured(
                batches.OnPixels(untouched, normalize),
                _change(kinds, official, seed),
                count=len(kinds),
            ),
            total=batches.count(loader, max_samples),
            description="corrupted",
        )
    facts = evaluation.facts()
    del facts["batch_size"]  # every image is corrupted for itself
    return CorruptionReport(
        clean=sweep.stacked(results, ["clean"])[0],
        flags={
            name: sweep.stacked(results, [_key(name, level) for level in levels])
            for name in names
        },
        severities=levels,
        levels={
            name: [table.find(name).levels[level - 1] for level in levels]
            for name in names
        },
        image_size=size,
        source=source,
        warnings=[] if official is not None else _warnings(size),
        **facts,
    )


def _of_the_files(loaded: sweep.Loaded, official: CifarC | None) -> sweep.Loaded:
    """Yield the batches, and refuse labels that are not those of the files."""
    first = 0
    for images, labels in loaded:
        if official is not None:
            official.check_labels(labels, range(first, first + len(images)))
        first += len(images)
        yield images, labels


def _change(
    kinds: Sequence[tuple[str, int]], official: CifarC | None, seed: int
) -> sweep.Change:
    """Return the function that yields the corrupted images of a batch."""

    def change(batch: Batch, clean: Verdict) -> Iterator[tuple[str, Tensor]]:
        del clean
        positions = range(batch.first, batch.first + len(batch.images))
        for name, severity in kinds:
            if official is None:
                corrupted = corrupt(
                    batch.images, name, severity, positions=positions, seed=seed
                )
            else:
                corrupted = official.images(name, severity, positions).to(batch.images)
                _check_shape(batch.images, corrupted)
            yield _key(name, severity), corrupted

    return change


def _check_shape(images: Tensor, corrupted: Tensor) -> None:
    if images.shape != corrupted.shape:
        raise ValueError(
            f"the images of the loader are {tuple(images.shape[1:])}, those of the "
            f"files {tuple(corrupted.shape[1:])}; evaluate without resizing, and "
            "resize inside of the model."
        )


def _key(name: str, severity: int) -> str:
    return f"{name} {severity}"


def _warnings(size: tuple[int, int]) -> list[str]:
    if min(size) >= SIDE:
        return []
    return [
        f"the images are {size[0]} x {size[1]}; the strengths are those for "
        f"{SIDE} x {SIDE}, which are too much for smaller images, or too little."
    ]
