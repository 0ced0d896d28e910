# pip install "lightly-adv[all]"

# Adversarial VICReg: Lightly's example, and one callback. The settings suit a short run
# on one GPU; they are not those of the paper.

import argparse

import pytorch_lightning as pl
import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import VICRegLoss
from lightly.models.modules.heads import VICRegProjectionHead
from lightly.transforms import VICRegTransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel


class VICReg(pl.LightningModule):
    def __init__(self):
        super().__init__()
        resnet = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.projection_head = VICRegProjectionHead(
            input_dim=512, hidden_dim=2048, output_dim=2048, num_layers=2
        )
        self.criterion = VICRegLoss()

    def forward(self, x):
        x = self.backbone(x).flatten(start_dim=1)
        z = self.projection_head(x)
        return z

    def training_step(self, batch, batch_index):
        x0, x1 = batch[0]
        z0 = self.forward(x0)
        z1 = self.forward(x1)
        loss = self.criterion(z0, z1)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        optim = torch.optim.SGD(self.parameters(), lr=0.06)
        return optim


parser = argparse.ArgumentParser()
parser.add_argument("--data", help="folder of images (default: CIFAR-10)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=256)
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()

model = VICReg()

transform = VICRegTransform(input_size=32)
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
