"""Training that writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.methods import RobustClassifier
from lightly_adv.methods.fit import fit


def test_nothing_is_written_and_all_validations_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = TensorDataset(torch.rand(4, 3, 32, 32), torch.arange(4))
    loader = DataLoader(data, batch_size=4)
    classifier = RobustClassifier("resnet8_tiny", num_classes=4)
    before = classifier.head.weight.clone()
    training = fit(
        classifier,
        loader,
        loader,
        epochs=4,
        accelerator="cpu",
        check_val_every_n_epoch=2,
    )
    assert [set(each) >= {"val_top1"} for each in training.validations] == [True] * 2
    assert training.trainer.current_epoch == 4
    assert training.seconds > 0
    assert not torch.equal(classifier.head.weight, before)
    assert not list(tmp_path.iterdir())
