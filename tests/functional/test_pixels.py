from __future__ import annotations

import pytest
import torch
from torchvision.transforms.functional import normalize as torchvision_normalize

from lightly_adv.functional import pixels
from lightly_adv.types import NormalizeStats

STATS: NormalizeStats = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}


def test_to_normalized_is_that_of_torchvision() -> None:
    images = torch.rand(2, 3, 5, 5)
    expected = torchvision_normalize(images, list(STATS["mean"]), list(STATS["std"]))
    assert torch.allclose(pixels.to_normalized(images, STATS), expected)


@pytest.mark.parametrize("shape", [(2, 3, 5, 5), (2, 4, 3, 5, 5), (3, 5, 5)])
def test_to_pixels_undoes_it_for_any_leading_shape(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    back = pixels.to_pixels(pixels.to_normalized(images, STATS), STATS)
    assert torch.allclose(back, images, atol=1e-6)


def test_without_normalisation_nothing_changes() -> None:
    images = torch.rand(2, 3, 5, 5)
    assert torch.equal(pixels.to_pixels(images, None), images)
    assert torch.equal(pixels.to_normalized(images, None), images)


def test_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"normalize has 3 channels.*\(2, 1, 5, 5\)"):
        pixels.to_pixels(torch.rand(2, 1, 5, 5), STATS)
