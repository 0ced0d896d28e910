from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lightly_adv.doctor import RandomImages, first_batch
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Fed(Healthy):
    """Has a step that takes batches of one structure."""

    def __init__(self, unpack: Callable[[Any], Any]) -> None:
        super().__init__(classes=10)
        self.unpack = unpack

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(self.unpack(batch), batch_idx)


def three(batch: Any) -> Any:
    views, labels, names = batch
    assert len(names) == len(labels)
    return views[0], labels


def two(batch: Any) -> Any:
    (first, _), labels = batch
    return first, labels


def classifier(batch: Any) -> Any:
    images, labels = batch
    return images + 0, labels


def plain(batch: Any) -> Any:
    return batch + 0, batch.flatten(1)[:, 0].long() % 4


def named(batch: Any) -> Any:
    return batch["image"], batch["label"]


@pytest.mark.parametrize(
    ("unpack", "views", "structure"),
    [
        (three, 2, "(views, labels, names)"),
        (two, 2, "(views, labels)"),
        (classifier, 2, "(images, labels)"),
        (classifier, 0, "(images, labels)"),
        (plain, 2, "images"),
        (named, 2, "{'image', 'label'}"),
        (named, 0, "{'image', 'label'}"),
    ],
)
def test_random_images_come_as_the_step_takes_them(
    unpack: Callable[[Any], Any], views: int, structure: str
) -> None:
    diagnosis = examine(Fed(unpack), RandomImages(16, views=views, normalize=None))
    assert diagnosis.statuses["training step"] == "PASS"
    assert f"in a batch {structure}. What" in told(diagnosis, "data")


def test_it_is_said_what_was_tried_in_vain() -> None:
    def image(batch: Any) -> Any:
        return batch["scan"], batch["finding"]

    diagnosis = examine(Fed(image), RandomImages(16, normalize=None))
    assert diagnosis.statuses["training step"] == "FAIL"
    assert (
        "in a batch (views, labels, names) (the step fails on (views, labels), "
        "(view, view), (images, labels), images, {'image', 'label'}, "
        "{'pixel_values', 'labels'}, {'img', 'label'}, too)"
    ) in told(diagnosis, "data")


def test_labels_that_do_not_fit_are_no_matter_of_structure() -> None:
    data = RandomImages(16, num_classes=100, normalize=None, batch_size=16)
    diagnosis = examine(Fed(three), data)
    assert diagnosis.statuses["labels"] == "FAIL"
    assert "(views, labels, names). What" in told(diagnosis, "data")


def test_whatever_has_one_entry_per_sample_is_cut() -> None:
    views = [torch.rand(4, 3, 2, 2), torch.rand(4, 5)]
    batch = (views, ["a", "b", "c", "d"], {"size": 4, "mask": torch.rand(2, 4)})
    (first, second), names, rest = first_batch.first(batch, size=4, count=2)
    assert torch.equal(first, views[0][:2])
    assert torch.equal(second, views[1][:2])
    assert names == ["a", "b"]
    assert rest["size"] == 4
    assert rest["mask"] is batch[2]["mask"]


def test_as_many_views_as_samples_are_not_mistaken_for_samples() -> None:
    views = [torch.rand(2, 3, 4, 4) for _ in range(2)]
    found = first_batch.first(views, size=2, count=1)
    assert [len(each) for each in found] == [1, 1]


def test_batches_that_take_too_long_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightly_adv.doctor.first_batch.STEP_SECONDS", 1e-6)
    diagnosis = examine(Healthy(), healthy.batch(count=32))
    assert blamed(diagnosis) == {}
    assert "(the first of 32; all of them" in told(diagnosis, "data")
    text = told(diagnosis, "cost")
    assert text.startswith("one step = 128 forward + 128 backward image passes")
    assert "Estimated from fewer images" in text


def test_a_step_that_needs_the_whole_batch_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Whole(Healthy):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) != 32:
                raise ValueError("this is not all")
            return super().forward(images)

    monkeypatch.setattr("lightly_adv.doctor.first_batch.STEP_SECONDS", 1e-6)
    diagnosis = examine(Whole(), healthy.batch(count=32))
    assert blamed(diagnosis) == {}
    assert "the first of" not in told(diagnosis, "data")
