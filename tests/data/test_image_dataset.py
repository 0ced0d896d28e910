from __future__ import annotations

import importlib
import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from lightly.transforms.multi_view_transform import MultiViewTransform
from PIL import ImageFilter
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import functional as image_functions

from lightly_adv.data.image_dataset import ImageDataset, Images, InMemory, identity
from lightly_adv.transforms import Compose, HorizontalFlip, RandomApply, RandomCrop

lightly: Any = importlib.import_module("lightly.transforms")


class GaussianBlur:
    """The blur of MoCo and SimSiam, as it is copied from one project to the next."""

    def __init__(self, sigma: tuple[float, float]) -> None:
        self.sigma = sigma

    def __call__(self, image: Any) -> Any:
        radius = random.uniform(*self.sigma)
        return image.filter(ImageFilter.GaussianBlur(radius=radius))


class RandomGrayscale:
    """Makes images black, whatever it is called."""

    def __call__(self, image: Any) -> Any:
        return image.point(lambda level: 0)


def _two_views(operation: Any) -> Any:
    view = transforms.Compose([operation, transforms.ToTensor()])
    return MultiViewTransform([view, view])


FLIPS = [transforms.RandomHorizontalFlip(1.0), transforms.RandomVerticalFlip(1.0)]
ORDERED = [transforms.RandomGrayscale(1.0), transforms.ColorJitter(saturation=(3, 3))]


def _images(count: int = 10) -> Images:
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8)
    return Images(InMemory(images), torch.arange(count))


def test_batch_is_scaled_to_pixels() -> None:
    sample_images = _images()
    images, labels = ImageDataset(sample_images, torch.arange(10)).__getitems__([7, 0])
    expected = torch.stack([sample_images.source(torch.tensor(i)) for i in (7, 0)])
    assert images.dtype == torch.float32
    assert torch.equal(images, expected.float() / 255)
    assert labels.tolist() == [7, 0]


def test_float_images_stay_as_they_are() -> None:
    images = torch.rand(4, 3, 8, 8)
    dataset = ImageDataset(Images(InMemory(images), torch.arange(4)), torch.arange(4))
    assert torch.equal(dataset.__getitems__([0, 1, 2, 3])[0], images)


def test_subset_and_single_image() -> None:
    sample_images = _images()
    dataset = ImageDataset(sample_images, torch.tensor([2, 5, 9]))
    image, label = dataset[1]
    assert (len(dataset), dataset.labels.tolist(), label.item()) == (3, [2, 5, 9], 5)
    assert torch.equal(image, sample_images.source(torch.tensor(5)).float() / 255)


def test_augmentation_draws_from_the_global_generator() -> None:
    sample_images = _images()
    augmentation = Compose((RandomCrop(2), RandomApply(HorizontalFlip(), 0.5)))
    dataset = ImageDataset(sample_images, torch.arange(10), augmentation=augmentation)
    torch.manual_seed(0)
    images, _ = dataset.__getitems__(list(range(10)))
    torch.manual_seed(0)
    clean = sample_images.source(torch.arange(10))
    assert torch.equal(images, augmentation(clean) / 255)


def test_loader_asks_for_whole_batches_with_and_without_workers() -> None:
    dataset = ImageDataset(_images(), torch.arange(10))
    calls = []
    fetch = dataset.__getitems__

    class Counting(ImageDataset):
        def __getitems__(self, batch: list[int]) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
            calls.append(batch)
            return fetch(batch)

    counting = Counting(dataset.images, dataset.indices)
    loader = DataLoader(counting, batch_size=4, collate_fn=identity)
    batches = [labels.tolist() for _, labels in loader]
    assert batches == calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    workers = DataLoader(dataset, batch_size=4, collate_fn=identity, num_workers=1)
    assert [labels.tolist() for _, labels in workers] == batches


def test_pickles_for_workers_that_are_spawned() -> None:
    dataset = ImageDataset(
        _images(), torch.arange(3), augmentation=Compose((RandomCrop(4),))
    )
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again.labels, dataset.labels)


@pytest.mark.parametrize(
    "transform",
    [
        _two_views(RandomGrayscale()),
        _two_views(transforms.RandomOrder(ORDERED)),
        _two_views(transforms.RandomApply([GaussianBlur((0.1, 2.0))], p=0.5)),
        _two_views(transforms.RandomChoice(FLIPS)),
        lightly.VICRegLTransform(16, 8, n_local_views=1),
    ],
    ids=["a name that is known", "order", "blur of one's own", "choice", "VICRegL"],
)
def test_what_is_not_known_for_batches_is_done_image_by_image(transform: Any) -> None:
    images = _images(6)
    dataset = ImageDataset(images, torch.arange(6), transform=transform)
    _seed()
    views, _ = dataset.__getitems__(list(range(6)))
    _seed()
    levels = images.source(torch.arange(6))
    each = [transform(image_functions.to_pil_image(image)) for image in levels]
    expected = [torch.stack(view) for view in zip(*each, strict=True)]
    assert len(views) == len(expected) >= 2
    assert all(map(torch.equal, views, expected))


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def test_what_is_known_is_done_for_the_whole_batch() -> None:
    images, seen = _images(6), []

    class Flip(transforms.RandomHorizontalFlip):  # type: ignore[misc]
        def forward(self, image: Any) -> Tensor:
            seen.append(image)
            return image  # type: ignore[no-any-return]

    for flip, calls in ((FLIPS[0], 0), (Flip(1.0), 12)):
        dataset = ImageDataset(images, torch.arange(6), transform=_two_views(flip))
        (first, second), _ = dataset.__getitems__(list(range(6)))
        assert len(seen) == calls
        pixels = images.source(torch.arange(6)) / 255
        expected = pixels if calls else pixels.flip(-1)
        assert torch.equal(first, expected)
        assert torch.equal(second, expected)
