# pip install "lightly-adv[all]"

# Adversarial SimCLR on small images, as fast as they can be fed: each file is decoded
# once, and the views of a batch are made where the network is. The settings suit a
# short run on one GPU; they are not those of the paper.

import argparse

import pytorch_lightning as pl
import torch
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.callbacks import Throughput
from lightly_adv.data import ImageFolderDataModule
from lightly_adv.transforms import BatchedTransform


class SimCLR(pl.LightningModule):
    def __init__(self):
        super().__init__()
        resnet = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.projection_head = SimCLRProjectionHead(512, 2048, 2048)
        self.criterion = NTXentLoss()
        self.transform = BatchedTransform(SimCLRTransform(input_size=32))

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, labels = batch
        return self.transform(images), labels

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
parser.add_argument("--data", required=True, help="folder with train/<class>/")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=256)
args = parser.parse_args()

model = SimCLR()

# The transform crops and flips, so the images come as they are.
data = ImageFolderDataModule(
    args.data,
    image_size=32,
    decode="once",
    batch_size=args.batch_size,
    val_fraction=0,
    crop_padding=0,
    flip_probability=0,
)

threat_model = ThreatModel(norm="Linf", eps=8 / 255, normalize=IMAGENET_NORMALIZE)
attack = PGD(threat_model, steps=5, step_size=2 / 255)

accelerator = "gpu" if torch.cuda.is_available() else "cpu"

trainer = pl.Trainer(
    max_epochs=args.epochs,
    devices=1,
    accelerator=accelerator,
    callbacks=[AdversarialTraining(attack), Throughput()],
)
trainer.fit(model=model, train_dataloaders=data.train_dataloader())
