from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from lightly_adv.transforms import Compose, HorizontalFlip, RandomApply, VerticalFlip
from lightly_adv.transforms.operation import uniform


@pytest.mark.parametrize(
    ("operation", "expected"),
    [(HorizontalFlip(), tv.horizontal_flip), (VerticalFlip(), tv.vertical_flip)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_images_chosen_are_flipped_as_torchvision_does(
    operation: HorizontalFlip, expected: object, dtype: torch.dtype
) -> None:
    images = (torch.rand(16, 3, 5, 4) * 255).to(dtype)
    flip = RandomApply(operation, p=0.5)
    drawn = flip.draw(images, torch.Generator().manual_seed(0))
    assert 0 < int(drawn.chosen.sum()) < 16
    found = flip.apply(images, drawn)
    assert found.dtype == dtype
    for image, result, chosen in zip(images, found, drawn.chosen, strict=True):
        wanted = expected(image) if chosen else image  # type: ignore[operator]
        assert torch.equal(result, wanted)


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_the_share_is_that_of_p(p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = RandomApply(HorizontalFlip(), p).draw(torch.zeros(9000, 3, 1, 1), generator)
    share = drawn.chosen.float().mean().item()
    assert share == pytest.approx(p, abs=0.02 * (0 < p < 1))


def test_a_generator_leaves_the_global_stream_alone() -> None:
    images, before = torch.rand(20, 3, 4, 4), torch.get_rng_state()
    flip = Compose((RandomApply(HorizontalFlip(), 0.5),))
    first = flip(images, torch.Generator().manual_seed(5))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(5)
    assert torch.equal(flip(images), first)


def test_a_generator_on_another_device() -> None:
    images = torch.empty(2, 3, 4, 4, device="meta")
    with pytest.raises(
        ValueError, match=r"on cpu, the images are on meta; use torch\."
    ):
        uniform(images, generator=torch.Generator())
