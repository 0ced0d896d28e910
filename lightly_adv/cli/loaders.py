"""The images of a data module, in an order whose first few represent all classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from lightly_adv.data import splits
from lightly_adv.data.image_dataset import ImageDataset
from lightly_adv.lightning import pl

SPREAD = "spread over the classes"
AS_THEY_COME = "as the data give them"


def test_images(data: pl.LightningDataModule) -> tuple[Iterable[Any], str]:
    """Return the test images in an order whose first few represent all classes.

    Images in folders come class by class, so that the first hundred would be of one
    class.

    Args:
        data: Where the images are.

    Returns:
        A loader that gives them in the order of `splits.interleave_classes`, and
        `SPREAD`. If the data set has neither `labels` nor `targets`, the images come in
        their own order: `AS_THEY_COME`.
    """
    loader, order = as_they_come(data)
    if not isinstance(loader, DataLoader) or loader.batch_size is None:
        return loader, order
    classes = _classes_of(loader.dataset)
    if classes is None:
        return loader, order
    spread = Subset(loader.dataset, splits.interleave_classes(classes).tolist())
    return _like(loader, spread), SPREAD


def as_they_come(data: pl.LightningDataModule) -> tuple[Iterable[Any], str]:
    """Return the test images in their own order, and `AS_THEY_COME`."""
    data.setup("test")
    return data.test_dataloader(), AS_THEY_COME


def plain_training_images(data: pl.LightningDataModule) -> Iterable[Any]:
    """Return the training images without augmentation, of all classes in turn.

    Raises:
        ValueError: If the data have another kind of training images.
    """
    data.setup("fit")
    dataset = getattr(data, "train_dataset", None)
    if not isinstance(dataset, ImageDataset):
        raise ValueError(
            f"{type(data).__name__} does not tell its training images apart from "
            "their augmentation; use a data module of lightly_adv.data, or call "
            "lightly_adv.evaluation.evaluate_encoder(..., bank=...) in Python."
        )
    spread = splits.interleave_classes(dataset.labels)
    plain = ImageDataset(dataset.images, dataset.indices[spread])
    return _like(data.train_dataloader(), plain)


def _like(loader: DataLoader[Any], dataset: Any) -> DataLoader[Any]:
    """Return a loader of other images, with the settings of one, in their order."""
    return DataLoader(
        dataset,
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        persistent_workers=loader.persistent_workers,
    )


def _classes_of(dataset: Any) -> Tensor | None:
    known = getattr(dataset, "labels", getattr(dataset, "targets", None))
    try:
        classes = torch.as_tensor(known)
    except (TypeError, ValueError, RuntimeError):
        return None
    fits = classes.dim() == 1 and len(classes) == len(dataset) > 0
    if not fits or classes.is_floating_point() or classes.min() < 0:
        return None
    return classes.long()
