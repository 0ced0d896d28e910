from __future__ import annotations

import pickle

import torch
from torch.utils.data import DataLoader

from lightly_adv.data.image_dataset import ImageDataset, Images, InMemory, identity
from lightly_adv.transforms import Compose, HorizontalFlip, RandomApply, RandomCrop


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
