"""Measure accuracy on corrupted images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation import batches, digests, processes, verdicts
from lightly_adv.evaluation.confirmation import Shown
from lightly_adv.evaluation.corruptions import table
from lightly_adv.evaluation.corruptions.cifar_c import CifarC
from lightly_adv.evaluation.corruptions.corrupt import corrupt
from lightly_adv.evaluation.corruptions.filters import SIDE
from lightly_adv.evaluation.corruptions.report import STYLE, CorruptionReport
from lightly_adv.evaluation.run import Run
from lightly_adv.evaluation.state import State
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
    where = batches.place(model, device)
    settings = {"corruptions": names, "severities": levels, "source": source}
    kept = _state(state, model, **settings, normalize=normalize, seed=seed)
    bar = _bar(progress, batches.count(loader, max_samples))
    undisturbed = verdicts.undisturbed(model, device=where, seed=seed)
    with undisturbed as untouched:
        run = _Run(
            batches.OnPixels(untouched, normalize),
            [(name, severity) for name in names for severity in levels],
            official,
            device=where,
            seed=seed,
            state=kept,
        )
        loaded = batches.load(
            loader, device=where, limit=max_samples, normalize=normalize
        )
        found = run.over(loaded, bar)
    flags = verdicts.joined([verdict.flags for verdict in found])
    return CorruptionReport(
        clean=flags["clean"],
        flags={
            name: torch.stack([flags[_key(name, severity)] for severity in levels])
            for name in names
        },
        severities=levels,
        image_size=run.image_size,
        seed=seed,
        source=source,
        levels={
            name: [table.CORRUPTIONS[name].levels[severity - 1] for severity in levels]
            for name in names
        },
        model_digest=digests.of_model(model),
        device=where.type,
        data_digest=run.data_digest,
        warnings=[] if official is not None else _warnings(run.image_size),
    )


class _Run(Run):
    """One evaluation on its way through the batches."""

    def __init__(
        self,
        model: nn.Module,
        kinds: Sequence[tuple[str, int]],
        official: CifarC | None,
        *,
        device: torch.device,
        seed: int,
        state: State | None,
    ) -> None:
        super().__init__(model, {}, device=device, seed=seed, state=state)
        self._kinds = kinds
        self._official = official
        self._positions = range(0)
        self.image_size = (0, 0)

    def _take(self, images: Tensor, labels: Tensor) -> None:
        first = self._positions.stop
        self._positions = range(first, first + len(images))
        height, width = images.shape[2:]
        if first and (height, width) != self.image_size:
            raise ValueError(
                f"a batch has images of {(height, width)}, the first one had "
                f"{self.image_size}; expected one size. Resize them."
            )
        self.image_size = (height, width)
        if self._official is not None:
            self._official.check_labels(labels, self._positions)
        super()._take(images, labels)

    def _attack(self, index: int, images: Tensor, labels: Tensor) -> Verdict:
        """Look at one batch corrupted in all ways."""
        clean = super()._attack(index, images, labels)
        flags = {"clean": clean.flags["clean"]}
        shown, kinds = Shown(images), len(self._kinds)
        with self._seeded(index):
            for kind, (name, severity) in enumerate(self._kinds):
                corrupted = self._corrupted(images, name, severity)
                said = batches.logits(self._model, corrupted, labels)
                shown.take_turns(corrupted, said, kind=kind, kinds=kinds, shift=index)
                flags[_key(name, severity)] = (said.argmax(dim=1) == labels).cpu()
            shown.confirm(self._model)
        worst = torch.stack(list(flags.values())).all(dim=0)
        return clean._replace(flags={**flags, "all": worst})

    def _corrupted(self, images: Tensor, name: str, severity: int) -> Tensor:
        if self._official is None:
            return corrupt(
                images, name, severity, positions=self._positions, seed=self._seed
            )
        found = self._official.images(name, severity, self._positions).to(images)
        if images.shape != found.shape:
            raise ValueError(
                f"the images of the loader are {tuple(images.shape[1:])}, those of "
                f"the files {tuple(found.shape[1:])}; evaluate without resizing, and "
                "resize inside of the model."
            )
        return found


def _key(name: str, severity: int) -> str:
    return f"{name} {severity}"


def _warnings(size: tuple[int, int]) -> list[str]:
    if min(size) >= SIDE:
        return []
    return [
        f"the images are {size[0]} x {size[1]}; the strengths are those for "
        f"{SIDE} x {SIDE}, which are too much for smaller images, or too little."
    ]


def _state(
    path: str | os.PathLike[str] | None, model: nn.Module, **settings: Any
) -> State | None:
    """Return the state of this evaluation in this process, if it is to be kept."""
    if path is None:
        return None
    rank, size = processes.rank_and_size()
    identity = {"model": digests.of_model(model), **settings}
    return State(Path(f"{path}.{rank}" if size > 1 else path), identity)


def _bar(progress: bool, total: int | None) -> tqdm[Any]:
    shown = progress and processes.rank_and_size()[0] == 0
    return tqdm(total=total, unit="images", desc="corrupted", disable=not shown)
