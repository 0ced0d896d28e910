from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightly_adv.doctor import shrink_batch
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


def test_whatever_has_one_entry_per_sample_is_cut() -> None:
    views = [torch.rand(4, 3, 2, 2), torch.rand(4, 5)]
    batch = (views, ["a", "b", "c", "d"], {"size": 4, "mask": torch.rand(2, 4)})
    (first, second), names, rest = shrink_batch.first(batch, size=4, count=2)
    assert torch.equal(first, views[0][:2])
    assert torch.equal(second, views[1][:2])
    assert names == ["a", "b"]
    assert rest["size"] == 4
    assert rest["mask"] is batch[2]["mask"]


def test_as_many_views_as_samples_are_not_mistaken_for_samples() -> None:
    views = [torch.rand(2, 3, 4, 4) for _ in range(2)]
    found = shrink_batch.first(views, size=2, count=1)
    assert [len(each) for each in found] == [1, 1]


def test_batches_that_take_too_long_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightly_adv.doctor.shrink_batch.STEP_SECONDS", 1e-6)
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

    monkeypatch.setattr("lightly_adv.doctor.shrink_batch.STEP_SECONDS", 1e-6)
    diagnosis = examine(Whole(), healthy.batch(count=32))
    assert blamed(diagnosis) == {}
    assert "the first of" not in told(diagnosis, "data")
