"""Own modules in two processes, of which one has batches that cannot be attacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightly.loss import NTXentLoss
from pytorch_lightning import Trainer
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.methods import AdversarialModule
from tests.callbacks import processes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="needs the gloo backend"
    ),
]

STEPS = 3


class Gathering(AdversarialModule):
    """The loss that is attacked needs the embeddings of the other process."""

    def __init__(self) -> None:
        super().__init__(PGD(ThreatModel(eps=0.05), steps=STEPS))
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
        self.criterion = NTXentLoss(gather_distributed=True)
        self.evaluations = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (images,) = batch

        def loss(views: Tensor) -> Tensor:
            self.evaluations += 1
            both: Tensor = self.criterion(self.backbone(views), self.backbone(images))
            # On one process only, and in the middle of the attack.
            bad = self.global_rank == 1 and batch_idx == 2
            return both * torch.nan if bad and self.evaluations % STEPS == 1 else both

        perturbed = self.perturb(loss, images)
        found: Tensor = self.criterion(self.backbone(perturbed), self.backbone(images))
        return found

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def bad_batches(rank: int, count: int) -> tuple[int, int, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    images = torch.rand(4, 2, 3, 4, 4, generator=generator)
    if rank == 1:
        images[1] *= 255
    module = Gathering()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=count,
        strategy=processes.strategy(find_unused=False),
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches: Any = [(each,) for each in images]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer.fit(module, loader)
    return module._clean.count, module.evaluations, dict(module.named_parameters())


def test_a_bad_batch_of_one_process_does_not_stop_the_other(tmp_path: Path) -> None:
    (found,) = processes.run([bad_batches], count=2, folder=tmp_path)
    assert not any(isinstance(each, str | None) for each in found), found
    (clean, evaluations, weights), (left_clean, others, other_weights) = found
    # A loss that gathers brings what is not finite to the other one, too.
    assert (clean, left_clean) == (1, 2)
    assert evaluations == others == 4 * STEPS
    for name, weight in weights.items():
        assert torch.equal(weight, other_weights[name])
