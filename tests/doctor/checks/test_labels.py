from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Named(TensorDataset):
    classes = ("cat", "dog", "cow", "bee")


def loader(**changes: Any) -> DataLoader[Any]:
    dataset = Named(*healthy.batch())
    vars(dataset).update(changes)
    return DataLoader(dataset, batch_size=8)


def test_labels_that_fit() -> None:
    text = told(examine(Healthy(), loader()), "labels")
    assert "labels from 0 to 3, a head of 4 classes, 4 classes in the data." in text


def test_labels_out_of_range_are_told_and_never_computed_with() -> None:
    diagnosis = examine(Healthy(3))
    assert blamed(diagnosis) == {"labels": "FAIL"}
    assert "the labels of the batch span [0, 3], but the logits have 3 classes" in told(
        diagnosis, "labels"
    )
    assert {"training step", "gradient", "loss"} <= set(diagnosis.skipped)


def test_labels_that_count_from_one() -> None:
    images, labels = healthy.batch()
    diagnosis = examine(Healthy(), [images, labels + 1])
    assert blamed(diagnosis) == {"labels": "FAIL"}
    assert "span [1, 4]" in told(diagnosis, "labels")


@pytest.mark.parametrize(
    ("classes", "status", "remedy"),
    [
        (("a",) * 10, "FAIL", "Give the head 10 classes: some labels"),
        (("a",) * 3, "WARN", "Give the head 3 classes, unless"),
    ],
)
def test_head_and_data_disagree(
    classes: tuple[str, ...], status: str, remedy: str
) -> None:
    diagnosis = examine(Healthy(), loader(classes=classes))
    assert blamed(diagnosis) == {"labels": status}
    assert remedy in told(diagnosis, "labels")


def test_a_cross_entropy_over_one_class() -> None:
    images, labels = healthy.batch()
    diagnosis = examine(Healthy(1), [images, torch.zeros_like(labels)])
    assert blamed(diagnosis) == {"labels": "FAIL", "gradient": "FAIL"}
    assert "its loss is always 0" in told(diagnosis, "labels")
