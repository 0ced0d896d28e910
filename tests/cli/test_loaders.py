"""The order of test images."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.cli import loaders
from lightly_adv.data.image_dataset import Images, InMemory
from lightly_adv.evaluation import evaluate_robustness
from tests.cli.conftest import Command
from tests.cli.tiny import TinyDataModule


class ClassByClass(TinyDataModule):
    """Images as they lie in folders; each holds its own number."""

    def load_test(self) -> Images:
        labels = torch.tensor([0] * 12 + [1] * 4)
        numbers = torch.arange(16.0)[:, None, None, None] / 255
        return Images(InMemory(numbers.expand(16, 3, 8, 8)), labels)


class Others(pl.LightningDataModule):
    """A data module of somebody else."""

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.dataset = TensorDataset(torch.rand(6, 3, 8, 8), torch.arange(6) // 3)
        for name, value in facts.items():
            setattr(self.dataset, name, value)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.dataset, batch_size=4)


def test_the_first_images_stand_for_all_classes() -> None:
    loader, order = loaders.test_images(ClassByClass(batch_size=8))
    (images, labels), (_, rest) = list(loader)
    assert order == "spread over the classes"
    assert (labels == 1).sum() == (rest == 1).sum() == 2
    numbers = (images[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(numbers >= 12, labels == 1)


def test_targets_of_other_data_sets_are_found() -> None:
    loader, order = loaders.test_images(Others(targets=[0, 0, 0, 1, 1, 1]))
    assert order == loaders.SPREAD
    assert next(iter(loader))[1].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "facts", [{}, {"targets": ["a"] * 6}, {"targets": [0]}, {"labels": [-1] * 6}]
)
def test_where_classes_are_not_known_the_order_stays(facts: dict[str, Any]) -> None:
    loader, order = loaders.test_images(Others(**facts))
    assert order == loaders.AS_THEY_COME
    assert next(iter(loader))[1].tolist() == [0, 0, 0, 1]


def test_results_of_fine_tuning_stand_for_all_classes(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def evaluate(model: Any, loader: Any, *args: Any, **options: Any) -> Any:
        seen.extend(next(iter(loader))[1].tolist())
        return evaluate_robustness(model, loader, *args, **options)

    monkeypatch.setattr("lightly_adv.cli.finetune.evaluate_robustness", evaluate)
    data = ("--data", "tests.cli.test_loaders.ClassByClass")
    short = ("--trainer.max_epochs", "1", "--evaluation.suite", "smoke")
    assert command("finetune", *data, *short) == 0
    assert seen[:8].count(1) == 2


def test_training_images_vote_as_they_are() -> None:
    data = TinyDataModule()
    torch.manual_seed(0)
    first, again = (
        torch.cat([images for images, _ in loaders.plain_training_images(data)])
        for _ in range(2)
    )
    assert first.equal(again)
    labels = torch.cat([labels for _, labels in loaders.plain_training_images(data)])
    assert labels[:6].tolist() == [0, 1, 0, 1, 0, 1]
    plain = data.train_dataset
    source = plain.images.source(plain.indices)
    assert sorted(first.sum(dim=(1, 2, 3)).tolist()) == pytest.approx(
        sorted(source.sum(dim=(1, 2, 3)).tolist())
    )


def test_training_images_that_cannot_be_told_from_their_augmentation() -> None:
    with pytest.raises(ValueError, match="apart from their augmentation"):
        loaders.plain_training_images(pl.LightningDataModule())
