from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from lightly_adv.pretext.rotate import balanced_labels, rotate


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_rotate_equals_torchvision_image_by_image(dtype: torch.dtype) -> None:
    images = (torch.rand(12, 3, 7, 7) * 255).to(dtype)
    labels = torch.randint(4, (12,))
    rotated = rotate(images, labels)
    assert rotated.dtype == dtype
    for image, turned, label in zip(images, rotated, labels.tolist(), strict=True):
        assert torch.equal(turned, tv.rotate(image, 90.0 * label))
        assert torch.equal(turned, torch.rot90(image, label, dims=(-2, -1)))


def test_rotate_leaves_its_input_alone() -> None:
    images = torch.rand(4, 3, 5, 5)
    before = images.clone()
    rotate(images, torch.arange(4))
    assert torch.equal(images, before)


def test_rotate_back() -> None:
    images, labels = torch.rand(8, 3, 6, 6), torch.arange(8)
    assert torch.equal(rotate(rotate(images, labels), -labels), images)


def test_rotate_is_differentiable() -> None:
    images = torch.rand(4, 3, 5, 5, requires_grad=True)
    weights, labels = torch.rand(4, 3, 5, 5), torch.arange(4)
    (grad,) = torch.autograd.grad((rotate(images, labels) * weights).sum(), images)
    assert torch.equal(grad, rotate(weights, -labels))


def test_rotate_stacks_of_tiles() -> None:
    tiles, labels = torch.rand(3, 16, 3, 4, 4), torch.tensor([1, 0, 3])
    assert torch.equal(rotate(tiles, labels)[2, 7], torch.rot90(tiles[2, 7], 3, (1, 2)))


def test_rotate_no_images() -> None:
    empty = torch.empty(0, 3, 4, 4)
    assert rotate(empty, balanced_labels(0)).shape == empty.shape


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 4)])
def test_rotate_refuses_what_is_not_square(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be turned by 90 degrees; expected"):
        rotate(torch.rand(shape), torch.zeros(shape[0], dtype=torch.long))


@pytest.mark.parametrize("labels", [torch.zeros(3).long(), torch.zeros(2)])
def test_rotate_refuses_other_labels(labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="do not fit 2 images; expected one integer"):
        rotate(torch.rand(2, 3, 4, 4), labels)


@pytest.mark.parametrize(
    ("batch_size", "num_classes"), [(8, 4), (10, 4), (3, 4), (62, 31)]
)
def test_labels_are_balanced(batch_size: int, num_classes: int) -> None:
    labels = balanced_labels(batch_size, num_classes)
    counts = labels.bincount(minlength=num_classes)
    assert labels.shape == (batch_size,)
    assert labels.dtype == torch.int64
    assert len(counts) == num_classes
    assert counts.max() - counts.min() <= 1


def test_labels_of_small_batches_favour_no_class() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [balanced_labels(1, generator=generator) for _ in range(4000)]
    shares = torch.cat(draws).bincount(minlength=4) / 4000
    assert ((shares - 0.25).abs() < 0.035).all()  # five standard deviations


def test_labels_are_in_random_order() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([balanced_labels(8, generator=generator) for _ in range(2000)])
    same = (draws[:, :1] == draws[:, 1:]).float().mean(dim=0)
    assert ((same - 1 / 7).abs() < 0.04).all()  # 1 of the 7 others has the same label


def test_labels_from_a_generator_and_from_the_global_one() -> None:
    before = torch.get_rng_state()
    first = balanced_labels(64, generator=torch.Generator().manual_seed(3))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(3)
    assert torch.equal(first, balanced_labels(64))
    assert not torch.equal(before, torch.get_rng_state())
