"""Prepare the first batch: a structure that fits, and not too many images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from lightly_adv.doctor import targets
from lightly_adv.doctor.isolated_training import isolated_training
from lightly_adv.doctor.probe import Probe
from lightly_adv.doctor.targets import TargetError

DICTS = (("image", "label"), ("pixel_values", "labels"), ("img", "label"))
"""Names of images and labels in dicts: of torchgeo, of transformers, of datasets."""

STEP_SECONDS = 4.0
"""How long a training step may take; if it takes longer, images are left out."""

FEWEST = 8
"""Images of a batch that are kept in any case."""


def structure_batch(probe: Probe) -> Probe:
    """Give a random batch a structure in which the training step runs.

    If there is none, it keeps the one that it has. The structure is noted either way.
    """
    if probe.random_images is None:
        return probe
    names = []
    for name, batch in _structures(probe.batch):
        if _runs(probe, batch):
            return dataclasses.replace(probe, batch=batch, structure=name)
        names.append(name)
    if not names:
        return probe
    tried = f"{names[0]} (the step fails on {', '.join(names[1:])}, too)"
    return dataclasses.replace(probe, structure=tried)


def _structures(batch: Any) -> Iterator[tuple[str, Any]]:
    """Yield structures of a batch of `RandomImages`, its own first."""
    if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
        return  # a hook of the module has made something else of it
    images, labels, *names = batch
    if names:
        yield "(views, labels, names)", batch
        yield "(views, labels)", [images, labels]
        yield "(view, view)", images
        images = images[0]
    yield "(images, labels)", [images, labels]
    yield "images", images
    for image, label in DICTS:
        yield f"{{{image!r}, {label!r}}}", {image: images, label: labels}


def _runs(probe: Probe, batch: Any) -> bool:
    try:
        with isolated_training(probe.module), targets.watched(batch):
            probe.training_step(batch)
    except TargetError:
        return True  # the number of classes is wrong, which a check reports
    except (Exception, SystemExit):
        return False
    return True


def shrink_batch(probe: Probe) -> Probe:
    """Leave out images of a batch for which training steps take too long."""
    try:
        sizes = {len(view) for view in probe.selected.images}
    except Exception:  # of a step that makes the views; checks report it
        return probe
    size = min(sizes)
    if len(sizes) > 1 or size <= FEWEST or not _has_samples(probe.batch, size):
        return probe
    seconds = _estimate(probe, size)
    count = max(FEWEST, int(size * STEP_SECONDS / max(seconds, STEP_SECONDS)))
    if count >= size:
        return probe
    batch = first(probe.batch, size=size, count=count)
    return dataclasses.replace(probe, batch=batch, full_size=size)


def first(batch: Any, *, size: int, count: int) -> Any:
    """Keep the first samples of everything in a batch that has one entry for each.

    Args:
        batch: What a loader yields, in any nesting of lists, tuples and dicts.
        size: Number of samples in it.
        count: Number of samples to keep.

    Examples:
        >>> import torch
        >>> first((torch.zeros(4, 3), ["a", "b", "c", "d"], 4), size=4, count=1)
        (tensor([[0., 0., 0.]]), ['a'], 4)
    """

    def is_names(each: Any) -> bool:
        """One entry per sample; a list of so many views holds tensors."""
        return (
            type(each) in (list, tuple)
            and len(each) == size
            and not pytree.tree_any(lambda leaf: isinstance(leaf, Tensor), each)
        )

    def cut(each: Any) -> Any:
        if is_names(each):
            return each[:count]
        if isinstance(each, Tensor) and each.dim() > 0 and len(each) == size:
            return each[:count]
        return each

    return pytree.tree_map(cut, batch, is_leaf=is_names)


def _has_samples(batch: Any, size: int) -> bool:
    """Whether there is something to cut: submodules may put out more images."""
    return any(
        isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == size
        for leaf in pytree.tree_leaves(batch)
    )


def _estimate(probe: Probe, size: int) -> float:
    """Return how long a step takes, from one on a few images; 0 if that fails."""
    few = first(probe.batch, size=size, count=FEWEST)
    seconds = math.inf
    for _ in range(2):  # the first may be slow for reasons of its own
        try:
            seconds = min(seconds, probe.seconds_of(few) * size / FEWEST)
        except Exception:
            return 0.0
        if seconds < STEP_SECONDS:
            break
    return seconds
