from __future__ import annotations

import torch
from torch import Tensor

from lightly_adv.evaluation.checks.sample import Sample


def batches(count: int, size: int) -> list[tuple[Tensor, Tensor]]:
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    labels = torch.arange(count) // 100  # sorted by class
    return list(zip(torch.split(images, size), torch.split(labels, size), strict=True))


def kept(sample: Sample, given: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    passed = list(sample.of(given))
    assert [labels.tolist() for _, labels in passed] == [y.tolist() for _, y in given]
    return sample.batch()


def test_images_come_from_everywhere_however_they_are_batched() -> None:
    sample = Sample(size=64)
    images, labels = kept(sample, batches(1000, 128))
    assert images[:, 0, 0, 0].long().tolist() == sample.indices
    assert len(set(sample.indices)) == 64
    assert (labels.bincount(minlength=10) > 0).all()
    assert len(set(labels[:24].tolist())) > 6, "the first are mixed, too"
    other = Sample(size=64)
    kept(other, batches(1000, 7))
    assert other.indices == sample.indices


def test_few_images_are_all_kept() -> None:
    sample = Sample(size=64)
    images, labels = kept(sample, batches(5, 2))
    assert sorted(sample.indices) == [0, 1, 2, 3, 4]
    assert len(images) == len(labels) == 5


def test_they_are_copies_and_of_one_size() -> None:
    large, small = torch.zeros(3, 1, 4, 4), torch.zeros(40, 1, 2, 2)
    sample = Sample(size=16)
    images, _ = kept(
        sample, [(large, torch.zeros(3).long()), (small, torch.zeros(40).long())]
    )
    small += 1
    assert bool((images == 0).all())
    assert len(images) == len(sample.indices) < 17
    assert len({tuple(image.shape) for image in images}) == 1
