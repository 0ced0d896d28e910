"""What the commands that attack have in common."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.cli import attacked
from lightly_adv.data.pictures import InMemory, Pictures
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm
from tests.cli.tiny import TinyDataModule


class ClassByClass(TinyDataModule):
    """Pictures as they lie in folders; each holds its own number."""

    def load_test(self) -> Pictures:
        labels = torch.tensor([0] * 12 + [1] * 4)
        numbers = torch.arange(16.0)[:, None, None, None] / 255
        return Pictures(InMemory(numbers.expand(16, 3, 8, 8)), labels)


class Others(pl.LightningDataModule):
    """A data module of somebody else."""

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.dataset = TensorDataset(torch.rand(6, 3, 8, 8), torch.arange(6) // 3)
        for name, value in facts.items():
            setattr(self.dataset, name, value)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.dataset, batch_size=4)


def test_the_first_pictures_stand_for_all_classes() -> None:
    loader, order = attacked.test_pictures(ClassByClass(batch_size=8))
    (images, labels), (_, rest) = list(loader)
    assert order == "spread over the classes"
    assert (labels == 1).sum() == (rest == 1).sum() == 2
    numbers = (images[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(numbers >= 12, labels == 1)


def test_targets_of_other_data_sets_are_found() -> None:
    loader, order = attacked.test_pictures(Others(targets=[0, 0, 0, 1, 1, 1]))
    assert order == attacked.SPREAD
    assert next(iter(loader))[1].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "facts", [{}, {"targets": ["a"] * 6}, {"targets": [0]}, {"labels": [-1] * 6}]
)
def test_where_classes_are_not_known_the_order_stays(facts: dict[str, Any]) -> None:
    loader, order = attacked.test_pictures(Others(**facts))
    assert order == attacked.AS_THEY_COME
    assert next(iter(loader))[1].tolist() == [0, 0, 0, 1]


def run(eps: float, norm: Norm = "Linf") -> Any:
    attack = SimpleNamespace(threat_model=ThreatModel(norm=norm, eps=eps))
    return SimpleNamespace(model=SimpleNamespace(attack=attack))


def test_the_threat_model_is_that_of_the_runs_or_what_is_asked() -> None:
    pair = [run(0.1), run(0.2)]
    assert attacked.threat_model(pair[:1] * 2, norm=None, eps=None).eps == 0.1
    with pytest.raises(ValueError, match=r"different threat models \(Linf 0.1, Linf"):
        attacked.threat_model(pair, norm=None, eps=None)
    found = attacked.threat_model(pair, norm="L2", eps=0.3)
    assert (found.eps, found.norm) == (0.3, "L2")


def test_another_norm_takes_a_radius_of_its_own() -> None:
    usual = r"not that of the run, Linf 8/255, .* give --eps, too, such as 0\.5,"
    with pytest.raises(ValueError, match=usual):
        attacked.threat_model([run(8 / 255)], norm="L2", eps=None)
    with pytest.raises(ValueError, match="such as 12, which is usual in L1"):
        attacked.threat_model([run(1.0, "L1"), run(1.0)], norm="L1", eps=None)
    assert attacked.threat_model([run(1.0, "L2")], norm="L2", eps=None).eps == 1.0
