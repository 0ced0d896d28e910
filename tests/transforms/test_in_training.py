"""Views that are made on the device, in a hook or in the step, are attacked."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.transforms import BatchedTransform

EPS = 8 / 255


class Hook(pl.LightningModule):
    """Makes its views in the hook that Lightning has for that."""

    def __init__(self) -> None:
        super().__init__()
        transforms: Any = importlib.import_module("lightly.transforms")
        self.transform = BatchedTransform(transforms.SimCLRTransform(8))
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
        self.seen: list[Tensor] = []

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Any:
        return self.transform(batch)

    def training_step(self, views: Any, batch_idx: int) -> Tensor:
        self.seen.append(torch.stack(list(views)).detach())
        x0, x1 = views
        distance: Tensor = (self.backbone(x0) - self.backbone(x1)).square()
        return -distance.mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Step(Hook):
    """Makes them in the step."""

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Any:
        return batch

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return super().training_step(self.transform(batch), batch_idx)


def last_views(module: Hook, callbacks: list[Any]) -> Tensor:
    """Return what the step of the only batch was trained on."""
    levels = torch.randint(256, (4, 3, 12, 12), dtype=torch.uint8)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(levels, batch_size=4))  # type: ignore[arg-type]
    return module.seen[-1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("create", "views"), [(Hook, None), (Step, "transform")])
def test_views_are_attacked(create: type[Hook], views: Any) -> None:
    threat_model = ThreatModel(eps=EPS, normalize=IMAGENET_NORMALIZE)
    attack = PGD(threat_model, steps=2)
    found = []
    for callbacks in ([], [AdversarialTraining(attack, views=views)]):
        torch.manual_seed(0)
        found.append(last_views(create(), callbacks))
    clean, attacked = found
    std = torch.tensor(IMAGENET_NORMALIZE["std"]).view(3, 1, 1)
    moved = ((attacked - clean) * std).abs().amax(dim=(1, 2, 3, 4))
    assert (moved > EPS / 2).all()
    assert (moved < EPS + 1e-6).all()
