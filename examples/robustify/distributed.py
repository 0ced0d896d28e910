"""Make an encoder robust in several processes, as on several GPUs.

    python examples/robustify/distributed.py --weights FILE --data FOLDER --devices 2

Every process takes its share of the images; gradients and the multiplier of the bound
on clean features are averaged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytorch_lightning as pl

from lightly_adv import PGD, ThreatModel
from lightly_adv.callbacks.progress_lines import ProgressLines
from lightly_adv.data.image_dataset import identity
from lightly_adv.data.image_files import ImageFiles
from lightly_adv.data.training_loader import TrainingLoader, TrainingSampler
from lightly_adv.lightning import Callback
from lightly_adv.methods import CleanConstraint, RobustDistillation
from lightly_adv.models import create_backbone, load_backbone
from lightly_adv.models.export import export_model
from lightly_adv.training.optimizers import WarmupCosineAdamW

EPS = 4 / 255


class ImageFolder(pl.LightningDataModule):
    """Images at any depth; the sampler is made when the processes know each other."""

    def __init__(self, root: Path, image_size: int, batch_size: int) -> None:
        super().__init__()
        self.images = ImageFiles(root, image_size)
        self.batch_size = batch_size

    def train_dataloader(self) -> TrainingLoader:
        """Return the loader of one process."""
        return TrainingLoader(
            self.images,
            sampler=TrainingSampler(len(self.images)),
            batch_size=self.batch_size,
            collate_fn=identity,
            drop_last=True,
        )


def main() -> None:
    """Train, and export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--backbone", default="tf_efficientnet_lite0", help="a network of timm")
    add("--weights", type=Path, required=True, help="its weights")
    add("--data", type=Path, required=True, help="folder with images")
    add("--image-size", type=int, default=64)
    add("--batch-size", type=int, default=32, help="of one process")
    add("--steps", type=int, default=1000, help="weight updates")
    add("--devices", type=int, default=2)
    add("--accelerator", default="auto")
    add("--out", type=Path, default=Path("runs/robustify_distributed"))
    args = parser.parse_args()

    pl.seed_everything(0, verbose=False)
    backbone = create_backbone(args.backbone)
    load_backbone(backbone, args.weights)
    module = RobustDistillation(
        backbone,
        PGD(ThreatModel(eps=EPS), steps=3, step_size=EPS / 2),
        fidelity=CleanConstraint(rho=0.05),
        optimizer=WarmupCosineAdamW(1e-4, 1e-4, warmup=0.07),
    )
    shown = {"attacked_distance": "attacked", "clean_distance": "clean"}
    callbacks: list[Callback] = [ProgressLines("training", shown)]
    trainer = pl.Trainer(
        max_steps=args.steps,
        max_epochs=-1,
        accelerator=args.accelerator,
        devices=args.devices,
        strategy="ddp",
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, ImageFolder(args.data, args.image_size, args.batch_size))
    if trainer.is_global_zero:
        written = export_model(
            module.robust_backbone(), args.out, image_size=args.image_size
        )
        print(f"{written} is written")


if __name__ == "__main__":
    main()
