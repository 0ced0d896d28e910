"""Train one module in the Trainer of a namespace, with packages hidden or not.

python -m tests.lightning_run NAMESPACE [HIDDEN ...] prints what it came to.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader


class Hidden(importlib.abc.MetaPathFinder):
    """Finds nothing of some packages."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name.split(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def train(namespace: str) -> str:
    """Return a digest of the weights after two epochs with all callbacks."""
    from lightly_adv import PGD, AdversarialTraining, ThreatModel
    from lightly_adv.callbacks import RobustValidation, Throughput

    pl = importlib.import_module(namespace)

    class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2)
            )
            self.net(torch.zeros(2, 3, 6, 6))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.net(images)
            return logits

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.training_step(batch, batch_idx))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    module = Module()
    data: Any = [(torch.rand(3, 6, 6), at % 2) for at in range(8)]
    threat_model = ThreatModel(eps=8 / 255)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            AdversarialTraining(PGD(threat_model, steps=2), mode="dual"),
            RobustValidation(threat_model),
            Throughput(),
        ],
    )
    trainer.fit(module, DataLoader(data, batch_size=4), DataLoader(data, batch_size=4))
    assert "val_robust_top1" in trainer.callback_metrics
    assert "images_per_second" in trainer.callback_metrics
    weights = torch.cat([each.flatten() for each in module.state_dict().values()])
    return hashlib.sha256(weights.numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # as in the tests: sums depend on it in their last bits
    sys.meta_path.insert(0, Hidden(sys.argv[2:]))
    weights = train(sys.argv[1])
    loaded = ",".join(set(sys.argv[2:]) & set(sys.modules)) or "none"
    sys.stdout.write(f"weights {weights}\nloaded {loaded}\n")
