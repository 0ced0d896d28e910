from __future__ import annotations

import pytest
import torch

from lightly_adv.doctor import RandomImages
from lightly_adv.functional import pixels
from tests.doctor.healthy import IMAGENET


def test_views_are_normalised_as_lightly_does() -> None:
    state = torch.get_rng_state()
    data = RandomImages(16, views=3, batch_size=5)
    loader = data.train_dataloader()
    assert torch.equal(state, torch.get_rng_state())
    views, labels, names = next(iter(loader))
    assert [view.shape for view in views] == [(5, 3, 16, 16)] * 3
    assert not torch.equal(views[0], views[1])
    found = pixels.to_pixels(views[0], IMAGENET)
    assert -1e-5 <= float(found.min()) <= float(found.max()) <= 1 + 1e-5
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert len(names) == 5


def test_without_views_batches_are_those_of_a_classifier() -> None:
    data = RandomImages(8, views=0, num_classes=3, normalize=None)
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (8, 3, 8, 8)
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert data.num_classes == 3


@pytest.mark.parametrize("wrong", [{"size": 0}, {"views": -1}, {"batch_size": 0}])
def test_numbers_that_are_too_small_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        RandomImages(**wrong)  # type: ignore[arg-type]
