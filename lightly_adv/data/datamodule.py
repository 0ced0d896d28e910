"""The base of all data modules: splits, labelled subsets, augmentation, loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightly_adv.data import splits
from lightly_adv.data.image_dataset import ImageDataset, Images, Transform, identity
from lightly_adv.data.training_loader import TrainingLoader, TrainingSampler
from lightly_adv.lightning import pl
from lightly_adv.transforms import Compose, HorizontalFlip, RandomApply, RandomCrop


class ImageDataModule(pl.LightningDataModule, ABC):
    """Batches of images (B, 3, H, W), float32 in [0, 1], and labels (B,), int64.

    Training images are cropped at random, flipped where that makes sense, and
    shuffled. A batch is determined by the seed that was given to `seed_everything` or
    `torch.manual_seed` before `train_dataloader`, by the epoch and by the index of the
    batch, whatever `num_workers` is, so that runs repeat, and resumed ones continue in
    the middle of an epoch as if they had not stopped. Validation and test
    images come clean and always in the same order: those of validation with
    alternating classes, so that the first few represent all, test images as loaded.
    A subclass loads the images: `load_train`, `load_test`, and `load_val` if it has
    such a part.

    Args:
        batch_size: Images in a batch. The last, smaller batch of an epoch is
            dropped in training, unless it is the only one.
        num_workers: Processes that read batches; 0 reads in the process of the
            Trainer, which is fastest for sets that are held in memory.
        seed: Seed of the choice of validation and labelled images. Nothing else
            depends on it.
        val_fraction: Share of the training images, of every class alike, that is
            kept for validation; 0 for none.
        fraction: Share of the remaining training images that is used, chosen
            regardless of their labels: how much data to pre-train on.
        labelled_fraction: Share of these, of every class alike and at least one, that
            is trained on.
        num_labelled: The same as a number, with equally many of every class.
        crop_padding: Black pixels around a training image, out of which it is
            cropped; 0 crops nothing. Defaults to what suits the set, `padding`.
            Jigsaw and selfie learn from the black where a tile belongs: use 0.
        flip_probability: Share of the training images that are flipped horizontally.
            Defaults to what suits the set.
        transform: What makes the views of a training image, in place of crop and flip:
            `ContrastiveViews`, any transform of Lightly with `normalize=None`, or a
            function from a PIL image to a view (3, H, W) or a list of views. A batch
            is then (list of views, labels).

    Raises:
        ValueError: If an argument is out of range, if both `labelled_fraction` and
            `num_labelled` are given, or crop and flip beside a transform.
    """

    padding: int
    """Pixels around an image, from which the training crops are taken."""

    flip_probability: float = 0.5
    """Share of the training images that are flipped, where no other is given."""

    def __init__(
        self,
        *,
        batch_size: int = 128,
        num_workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        fraction: float = 1.0,
        labelled_fraction: float = 1.0,
        num_labelled: int | None = None,
        crop_padding: int | None = None,
        flip_probability: float | None = None,
        transform: Transform | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.val_fraction = val_fraction
        self.fraction = fraction
        self.labelled_fraction = labelled_fraction
        self.num_labelled = num_labelled
        self.crop_padding = crop_padding
        if flip_probability is not None:
            self.flip_probability = flip_probability
        self.transform = transform
        self._check_options()

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes, known before `setup`."""

    @abstractmethod
    def load_train(self) -> Images:
        """Return the training images, those for validation among them."""

    @abstractmethod
    def load_test(self) -> Images:
        """Return the test images."""

    def load_val(self) -> Images | None:
        """Return validation images; None to split them off the training ones."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Load what a stage needs, unless it is loaded already.

        Args:
            stage: "fit", "validate", "test", "predict", or None for everything.
        """
        if stage in ("fit", "validate", None):
            _ = self._train_and_val
        if stage in ("test", "predict", None):
            _ = self.test_dataset

    @property
    def train_dataset(self) -> ImageDataset:
        """The images trained on, loaded if need be."""
        return self._train_and_val[0]

    @property
    def val_dataset(self) -> ImageDataset | None:
        """The validation images, loaded if need be; None if there are none."""
        return self._train_and_val[1]

    @cached_property
    def test_dataset(self) -> ImageDataset:
        """The test images, loaded if need be."""
        images = self.load_test()
        return ImageDataset(images, torch.arange(len(images.labels)))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffled batches of augmented training images."""
        dataset = self.train_dataset
        # The same few batches in every epoch are what overfit_batches is for.
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        return TrainingLoader(
            dataset,
            sampler=TrainingSampler(len(dataset), shuffle=not overfit),
            drop_last=len(dataset) > self.batch_size,
            # Or else the loader would draw from the global generator.
            generator=torch.Generator(),
            **self._options(),
        )

    def val_dataloader(
        self,
    ) -> DataLoader[tuple[Tensor, Tensor]] | list[DataLoader[tuple[Tensor, Tensor]]]:
        """Batches of clean validation images, unshuffled; [] if there are none."""
        dataset = self.val_dataset
        return [] if dataset is None else self._loader(dataset)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of clean test images, in order."""
        return self._loader(self.test_dataset)

    @cached_property
    def _train_and_val(self) -> tuple[ImageDataset, ImageDataset | None]:
        images, held_out = self.load_train(), self.load_val()
        share = self.val_fraction if held_out is None else 0.0
        train, val = splits.split(images.labels, fraction=share, seed=self.seed)
        if held_out is not None:
            val = torch.arange(len(held_out.labels))
        used = splits.subsample(len(train), fraction=self.fraction, seed=self.seed)
        train = train[used]
        train = train[self._pick_labelled(images.labels[train])]
        dataset = ImageDataset(
            images, train, augmentation=self._augmentation(), transform=self.transform
        )
        if not len(val):
            return dataset, None
        source = held_out or images
        order = splits.interleave_classes(source.labels[val])
        return dataset, ImageDataset(source, val[order])

    def _augmentation(self) -> Compose | None:
        padding = self.padding if self.crop_padding is None else self.crop_padding
        flipped = self.flip_probability
        if self.transform is not None or not (padding or flipped):
            return None
        return Compose((RandomCrop(padding), RandomApply(HorizontalFlip(), flipped)))

    def _pick_labelled(self, labels: Tensor) -> Tensor:
        if self.num_labelled is not None:
            count = self.num_labelled
            return splits.pick_balanced(labels, count=count, seed=self.seed)
        fraction = self.labelled_fraction
        return splits.subsample_classes(labels, fraction=fraction, seed=self.seed)

    def _loader(self, dataset: ImageDataset) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(dataset, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": identity,
        }

    def _check_options(self) -> None:
        tenth = "0.1 is a tenth of the training images"
        val, used, labelled = self.val_fraction, self.fraction, self.labelled_fraction
        expected = {
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "num_workers": (self.num_workers >= 0, "at least 0"),
            "val_fraction": (0 <= val < 1, f"at least 0 and less than 1; {tenth}"),
            "fraction": (0 < used <= 1, f"more than 0 and at most 1; {tenth}"),
            "labelled_fraction": (
                0 < labelled <= 1,
                "more than 0 and at most 1; for a number of images use num_labelled",
            ),
            "crop_padding": ((self.crop_padding or 0) >= 0, "pixels, at least 0"),
            "flip_probability": (0 <= self.flip_probability <= 1, "a share in [0, 1]"),
        }
        for name, (is_valid, what) in expected.items():
            if not is_valid:
                raise ValueError(f"{name}={getattr(self, name)}; expected {what}.")
        flip = vars(self).get("flip_probability")
        if self.transform is not None and (self.crop_padding, flip) != (None, None):
            raise ValueError(
                f"crop_padding={self.crop_padding} and flip_probability={flip} "
                "came with a transform, which takes their place; leave them out, and "
                "crop and flip in the transform."
            )
        if self.num_labelled is not None and self.labelled_fraction != 1:
            raise ValueError(
                f"labelled_fraction={self.labelled_fraction} and "
                f"num_labelled={self.num_labelled} are both given; use one of them."
            )
