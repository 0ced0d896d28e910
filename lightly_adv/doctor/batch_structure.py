"""Random batches in the structure that a training step takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from lightly_adv.doctor import targets
from lightly_adv.doctor.isolated_training import isolated_training
from lightly_adv.doctor.probe import Probe
from lightly_adv.doctor.targets import TargetError

DICTS = (("image", "label"), ("pixel_values", "labels"), ("img", "label"))
"""Names of images and labels in dicts: of torchgeo, of transformers, of datasets."""


def structure_batch(probe: Probe) -> Probe:
    """Give a random batch a structure in which the training step runs.

    If there is none, it keeps the one that it has. The structure is noted either way.
    """
    if not probe.random_data:
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
    """Yield what a loader may make of a batch of `RandomImages`, as it is first."""
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
