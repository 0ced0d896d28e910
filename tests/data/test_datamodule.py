from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv.data import ImageDataModule
from lightly_adv.data.image_dataset import Images, InMemory


class Toy(ImageDataModule):
    """120 images to train on and 10 to test on, each of one colour; four classes."""

    padding = 1

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loads: list[str] = []

    @property
    def num_classes(self) -> int:
        return 4

    def load_train(self) -> Images:
        self.loads.append("train")
        return _images(120)

    def load_test(self) -> Images:
        self.loads.append("test")
        return _images(10)


class ToyWithVal(Toy):
    def load_val(self) -> Images | None:
        self.loads.append("val")
        return _images(6)


class Linear(pl.LightningModule):
    """Records how many batches of each kind it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 4)
        self.seen: list[tuple[str, int]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        self.seen.append(("train", len(images)))
        return nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.seen.append(("val", len(batch[0])))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.seen.append(("test", len(batch[0])))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _images(count: int) -> Images:
    colours = torch.arange(100, 100 + count, dtype=torch.uint8)
    images = colours[:, None, None, None].expand(-1, 3, 8, 8)
    return Images(InMemory(images), torch.arange(count) % 4)


def _trainer() -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _labels(loader: Any) -> list[int]:
    return [label for _, labels in loader for label in labels.tolist()]


def test_batches() -> None:
    images, labels = next(iter(Toy(batch_size=32).train_dataloader()))
    assert images.shape == (32, 3, 8, 8)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert 0 <= images.min() <= images.max() <= 1
    assert (labels.shape, labels.dtype) == ((32,), torch.int64)


def test_setup_loads_what_is_needed_once() -> None:
    data = Toy()
    data.setup("fit")
    data.setup("validate")
    assert data.loads == ["train"]
    train = data.train_dataset
    data.setup("test")
    data.setup(None)
    assert data.loads == ["train", "test"]
    assert data.train_dataset is train


def test_train_and_val_are_disjoint_and_fixed_by_the_seed() -> None:
    first, again, other = (Toy(seed=s, val_fraction=0.2) for s in (0, 0, 1))
    assert first.val_dataset is not None
    assert again.val_dataset is not None
    assert other.val_dataset is not None
    val = first.val_dataset.indices
    assert torch.equal(val, again.val_dataset.indices)
    assert not torch.equal(val, other.val_dataset.indices)
    assert first.val_dataset.labels.bincount().tolist() == [6] * 4
    both = torch.cat([val, first.train_dataset.indices])
    assert both.sort().values.tolist() == list(range(120))


def test_labels_are_chosen_among_those_not_in_validation() -> None:
    data, everything = Toy(num_labelled=8), Toy()
    assert data.train_dataset.labels.bincount().tolist() == [2] * 4
    assert set(data.train_dataset.indices.tolist()) < set(
        everything.train_dataset.indices.tolist()
    )
    assert data.val_dataset is not None
    assert everything.val_dataset is not None
    assert torch.equal(data.val_dataset.indices, everything.val_dataset.indices)


def test_labelled_fraction() -> None:
    data = Toy(labelled_fraction=0.01, val_fraction=0)
    assert data.train_dataset.labels.bincount().tolist() == [1] * 4


@pytest.mark.parametrize(("fraction", "count"), [(0.5, 54), (0.1, 11), (1e-9, 1)])
def test_fraction_of_the_training_images(fraction: float, count: int) -> None:
    data, everything = Toy(fraction=fraction), Toy()
    assert len(data.train_dataset) == count
    assert set(data.train_dataset.indices.tolist()) < set(
        everything.train_dataset.indices.tolist()
    )
    assert data.val_dataset is not None
    assert everything.val_dataset is not None
    assert torch.equal(data.val_dataset.indices, everything.val_dataset.indices)


def test_labels_are_chosen_among_the_fraction() -> None:
    used = set(Toy(fraction=0.5).train_dataset.indices.tolist())
    data = Toy(fraction=0.5, num_labelled=8)
    assert data.train_dataset.labels.bincount().tolist() == [2] * 4
    assert set(data.train_dataset.indices.tolist()) < used


def test_validation_and_test_are_clean_and_in_order() -> None:
    data = Toy(batch_size=4)
    images = torch.cat([images for images, _ in data.test_dataloader()])
    expected = torch.arange(100, 110).float() / 255
    assert torch.equal(images, expected[:, None, None, None].expand(-1, 3, 8, 8))
    assert data.val_dataset is not None
    assert _labels(data.val_dataloader()) == data.val_dataset.labels.tolist()


def test_training_is_shuffled_and_augmented_by_the_global_seed() -> None:
    def epoch() -> list[Tensor]:
        return [images for images, _ in Toy(batch_size=16).train_dataloader()]

    first, again, other = [(torch.manual_seed(s), epoch())[1] for s in (0, 0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert (torch.cat(first) == 0).any()  # black from the padding


def test_padding_and_flips_are_options() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(8.0).div(8).expand(40, 3, 8, 8)

    class Ramps(Toy):
        def load_train(self) -> Images:
            return Images(InMemory(ramp), torch.arange(40) % 4)

    def images(**options: Any) -> Tensor:
        data = Ramps(batch_size=40, val_fraction=0.0, **options)
        ((found, _),) = data.train_dataloader()
        assert isinstance(found, Tensor)
        return found

    still = images(crop_padding=0, flip_probability=0.0)
    assert torch.equal(still, ramp)
    assert torch.equal(images(crop_padding=0, flip_probability=1.0), ramp.flip(3))
    cropped = images(crop_padding=3, flip_probability=0.0)
    assert not torch.equal(cropped, ramp)
    assert (cropped[:, :, 4, 4] >= 1 / 8).all()  # three pixels of four from the edge
    assert 0 < (images(crop_padding=0) == ramp).all(dim=(1, 2, 3)).sum() < 40


def test_last_batch() -> None:
    sizes = [len(y) for _, y in Toy(batch_size=40).train_dataloader()]
    assert sizes == [40, 40]
    assert [len(y) for _, y in Toy(batch_size=108).train_dataloader()] == [108]
    assert [len(y) for _, y in Toy(batch_size=128).train_dataloader()] == [108]
    assert [len(y) for _, y in Toy(batch_size=4).test_dataloader()] == [4, 4, 2]


def test_validation_part_of_the_set() -> None:
    data = ToyWithVal(batch_size=200, val_fraction=0.3)
    assert len(data.train_dataset) == 120
    assert data.val_dataset is not None
    assert len(data.val_dataset) == 6


@pytest.mark.parametrize("workers", [0, 1])
def test_in_a_trainer(workers: int) -> None:
    model, data = Linear(), Toy(batch_size=64, num_workers=workers)
    _trainer().fit(model, datamodule=data)
    _trainer().test(model, datamodule=data, verbose=False)
    assert model.seen == [("train", 64), ("val", 12), ("test", 10)]


def test_without_validation_in_a_trainer() -> None:
    model, data = Linear(), Toy(val_fraction=0.0)
    assert data.val_dataset is None
    assert data.val_dataloader() == []
    _trainer().fit(model, datamodule=data)
    assert model.seen == [("train", 120)]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 0}, "batch_size=0; expected at least 1"),
        ({"num_workers": -1}, "num_workers=-1; expected at least 0"),
        ({"val_fraction": 1.0}, "val_fraction=1.0; expected at least 0 and less than"),
        ({"fraction": 0.0}, "fraction=0.0; expected more than 0 and at most 1"),
        ({"fraction": 10}, "0.1 is a tenth of the training images"),
        ({"labelled_fraction": 0.0}, "labelled_fraction=0.0; expected more than 0"),
        ({"labelled_fraction": 100}, "for a number of images use num_labelled"),
        ({"labelled_fraction": 0.5, "num_labelled": 8}, "both given; use one of them"),
        ({"crop_padding": -1}, "crop_padding=-1; expected pixels, at least 0"),
        (
            {"flip_probability": 1.5},
            r"flip_probability=1.5; expected a share in \[0, 1\]",
        ),
    ],
)
def test_options_out_of_range(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Toy(**options)


def test_unknown_option() -> None:
    with pytest.raises(TypeError, match="batchsize"):
        Toy(batchsize=3)
