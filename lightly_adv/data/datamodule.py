"""What all data modules share: splits, labelled subsets, augmentation and loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
    shuffled. What comes in a batch follows from the seed that `seed_everything` or
    `torch.manual_seed` was given before `train_dataloader`, from the epoch and from the
    place of the batch, whatever `num_workers` is, so that runs repeat and resumed ones
    go on in the middle of an epoch as if they had not stopped. Validation and test
    images come clean and always in the same order: those of validation with
    alternating classes, so that the first few represent all, test images as loaded.
    A subclass says where the images are: `load_train`, `load_test`, and `load_val` if
    it has such a part.

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
        flip_share: Share of the training images that are flipped horizontally.
            Defaults to what suits the set, `flip_probability`.
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
    """Share of the training images that are flipped horizontally."""

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
        flip_share: float | None = None,
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
        self.flip_share = flip_share
        self.transform = transform
        self._check_options()
        self._train: ImageDataset | None = None
        self._val: ImageDataset | None = None
        self._test: ImageDataset | None = None

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
        """Load what a stage needs; does nothing for what is there already.

        Args:
            stage: "fit", "validate", "test", "predict", or None for everything.
        """
        if stage in ("fit", "validate", None) and self._train is None:
            self._setup_fit()
        if stage in ("test", "predict", None) and self._test is None:
            self._test = _whole(self.load_test())

    @property
    def train_dataset(self) -> ImageDataset:
        """The images trained on, loaded if need be."""
        self.setup("fit")
        assert self._train is not None
        return self._train

    @property
    def val_dataset(self) -> ImageDataset | None:
        """The validation images, loaded if need be; None if there are none."""
        self.setup("validate")
        return self._val

    @property
    def test_dataset(self) -> ImageDataset:
        """The test images, loaded if need be."""
        self.setup("test")
        assert self._test is not None
        return self._test

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

    def _setup_fit(self) -> None:
        images, held_out = self.load_train(), self.load_val()
        share = self.val_fraction if held_out is None else 0.0
        train, val = splits.split(images.labels, fraction=share, seed=self.seed)
        if held_out is not None:
            self._val = ImageDataset(
                held_out, splits.interleave_classes(held_out.labels)
            )
        elif len(val):
            val = val[splits.interleave_classes(images.labels[val])]
            self._val = ImageDataset(images, val)
        used = splits.subsample(len(train), fraction=self.fraction, seed=self.seed)
        train = train[used]
        train = train[self._pick_labelled(images.labels[train])]
        self._train = ImageDataset(
            images, train, augmentation=self._augmentation(), transform=self.transform
        )

    def _augmentation(self) -> Compose | None:
        padding = self.padding if self.crop_padding is None else self.crop_padding
        flipped = self.flip_probability if self.flip_share is None else self.flip_share
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
        if self.batch_size < 1 or self.num_workers < 0:
            raise ValueError(
                f"batch_size={self.batch_size} and num_workers={self.num_workers}; "
                "expected at least 1 and 0."
            )
        if not 0 <= self.val_fraction < 1:
            raise ValueError(
                f"val_fraction={self.val_fraction} must be at least 0 and less than "
                "1; 0.1 keeps a tenth of the training images for validation."
            )
        if not 0 < self.fraction <= 1:
            raise ValueError(
                f"fraction={self.fraction} must be more than 0 and at most 1; 0.1 uses "
                "a tenth of the training images."
            )
        if (self.crop_padding or 0) < 0 or not 0 <= (self.flip_share or 0) <= 1:
            raise ValueError(
                f"crop_padding={self.crop_padding} and flip_share={self.flip_share}; "
                "expected pixels, at least 0, and a share in [0, 1]."
            )
        given = (self.crop_padding, self.flip_share)
        if self.transform is not None and given != (None, None):
            raise ValueError(
                f"crop_padding={self.crop_padding} and flip_share={self.flip_share} "
                "came with a transform, which takes their place; leave them out, and "
                "crop and flip in the transform."
            )
        if not 0 < self.labelled_fraction <= 1:
            raise ValueError(
                f"labelled_fraction={self.labelled_fraction} must be more than 0 and "
                "at most 1; for a number of images use num_labelled."
            )
        if self.num_labelled is not None and self.labelled_fraction != 1:
            raise ValueError(
                f"labelled_fraction={self.labelled_fraction} and "
                f"num_labelled={self.num_labelled} are both given; use one of them."
            )


def _whole(images: Images) -> ImageDataset:
    return ImageDataset(images, torch.arange(len(images.labels)))
