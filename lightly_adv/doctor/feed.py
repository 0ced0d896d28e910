"""Made-up batches in the structure that a training step takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightly_adv.doctor import targets
from lightly_adv.doctor.patient import Patient
from lightly_adv.doctor.targets import TargetError
from lightly_adv.doctor.untouched import untouched


def feed(patient: Patient) -> None:
    """Where the batch is made up, give it a structure in which the step runs.

    If there is none, it keeps the one that it has. What is fed is noted either way.
    """
    if not patient.random_data:
        return
    names = []
    for name, batch in _forms(patient.batch):
        if _takes(patient, batch):
            patient.batch, patient.fed = batch, name
            return
        names.append(name)
    if names:
        patient.fed = f"{names[0]} (the step fails on {', '.join(names[1:])}, too)"


def _forms(batch: Any) -> Iterator[tuple[str, Any]]:
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


def _takes(patient: Patient, batch: Any) -> bool:
    try:
        with untouched(patient.module), targets.watched(batch):
            patient.training_step(batch)
    except TargetError:
        return True  # wrong is the number of classes, of which a check tells
    except (Exception, SystemExit):
        return False
    return True
