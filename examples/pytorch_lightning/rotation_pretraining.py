# pip install "lightly-adv[all]"

# Adversarial rotation: a pretext task written as a LightningModule, and one callback.
# The settings suit a short run on one GPU; they are not those of the paper.

import argparse

import pytorch_lightning as pl
import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.pretext import RotationPredictionHead, rotate


class Rotation(pl.LightningModule):
    def __init__(self):
        super().__init__()
        resnet = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.prediction_head = RotationPredictionHead(512, num_classes=4)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x):
        x = self.backbone(x).flatten(start_dim=1)
        logits = self.prediction_head(x)
        return logits

    def training_step(self, batch, batch_idx):
        images = batch[0]
        turns = rotate.balanced_labels(len(images), device=images.device)
        logits = self.forward(rotate.rotate(images, turns))
        loss = self.criterion(logits, turns)
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

model = Rotation()

transform = torchvision.transforms.Compose(
    [
        torchvision.transforms.RandomResizedCrop(32, scale=(0.5, 1.0)),
        torchvision.transforms.RandomHorizontalFlip(),
        torchvision.transforms.ToTensor(),
        torchvision.transforms.Normalize(**IMAGENET_NORMALIZE),
    ]
)
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
