# pip install "lightly-adv[all]"

# Adversarial SwAV: Lightly's example, and one callback. The settings suit a short run
# on one GPU; they are not those of the paper.

import argparse

import pytorch_lightning as pl
import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import SwaVLoss
from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes
from lightly.transforms import SwaVTransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel


class SwaV(pl.LightningModule):
    def __init__(self):
        super().__init__()
        resnet = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.projection_head = SwaVProjectionHead(512, 512, 128)
        self.prototypes = SwaVPrototypes(128, n_prototypes=512)
        self.criterion = SwaVLoss()

    def forward(self, x):
        x = self.backbone(x).flatten(start_dim=1)
        x = self.projection_head(x)
        x = nn.functional.normalize(x, dim=1, p=2)
        p = self.prototypes(x)
        return p

    def training_step(self, batch, batch_idx):
        self.prototypes.normalize()
        views = batch[0]
        multi_crop_features = [self.forward(view) for view in views]
        high_resolution = multi_crop_features[:2]
        low_resolution = multi_crop_features[2:]
        loss = self.criterion(high_resolution, low_resolution)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        optim = torch.optim.Adam(self.parameters(), lr=0.001)
        return optim


parser = argparse.ArgumentParser()
parser.add_argument("--data", help="folder of images (default: CIFAR-10)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()

model = SwaV()

transform = SwaVTransform(crop_sizes=(32, 16))
if args.data:
    dataset = LightlyDataset(args.data, transform=transform)
else:
    dataset = torchvision.datasets.CIFAR10(
        "datasets/cifar10", download=True, transform=transform
    )

dataloader = torch.utils.data.DataLoader(
    dataset,
    batch_size=args.batch_size,
    shuffle=True,
    drop_last=True,
    num_workers=args.num_workers,
)

threat_model = ThreatModel(norm="Linf", eps=8 / 255, normalize=IMAGENET_NORMALIZE)
attack = PGD(threat_model, steps=5, step_size=2 / 255)

accelerator = "gpu" if torch.cuda.is_available() else "cpu"

trainer = pl.Trainer(
    max_epochs=args.epochs,
    devices=1,
    accelerator=accelerator,
    callbacks=[AdversarialTraining(attack)],
)
trainer.fit(model=model, train_dataloaders=dataloader)
