"""Once the package is installed, its names are enough."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from lightly_adv_example import MIFGSM, GammaTask
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv import (
    ThreatModel,
    create_attack,
    create_pretext_task,
    list_attacks,
    list_pretext_tasks,
)
from lightly_adv.evaluation import create_corruption, list_corruptions
from lightly_adv.methods import PretextModule


def test_all_are_listed_and_made_by_name() -> None:
    """Options are those of the classes."""
    assert "mi-fgsm" in list_attacks()
    assert "gamma" in list_pretext_tasks()
    threat_model = ThreatModel(eps=8 / 255)
    attack = create_attack("mi-fgsm", threat_model=threat_model, decay=0.9)
    assert attack == MIFGSM(threat_model, decay=0.9)
    task = create_pretext_task("gamma", backbone="resnet8_tiny", gammas=(0.5, 2.0))
    assert isinstance(task, GammaTask)
    assert len(task.gammas) == 2
    assert "lines" in list_corruptions()
    assert len(create_corruption("lines").levels) == 5


@pytest.mark.filterwarnings("ignore")
def test_one_batch_is_trained_on_with_both() -> None:
    """The weights move, and the attack has been measured."""
    attack = create_attack("mi-fgsm", threat_model=ThreatModel(eps=8 / 255), steps=2)
    module = PretextModule("gamma", backbone="resnet8_tiny", attack=attack)
    before = [parameter.clone() for parameter in module.parameters()]
    trainer = pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(torch.rand(8, 3, 8, 8)), 8))
    after = list(module.parameters())
    assert any(not torch.equal(*each) for each in zip(before, after, strict=True))
    assert "train_robust_top1" in trainer.callback_metrics
