# pip install "lightly-adv[all]"

# Adversarial SimCLR with a linear classifier beside it, under manual optimisation: two
# optimizers in one training step. The callback AdversarialTraining cannot replay such a
# step, so the step attacks by itself: the loss of SimCLR is swapped for one that
# attacks, and the classifier is attacked by a call inside of `isolated`.

import argparse

import pytorch_lightning as pl
import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import nn

from lightly_adv import PGD, AdversarialLoss, ThreatModel, isolated

attack = PGD(
    ThreatModel(eps=8 / 255, normalize=IMAGENET_NORMALIZE), steps=5, step_size=2 / 255
)


class SimCLR(pl.LightningModule):
    def __init__(self, num_classes):
        super().__init__()
        self.automatic_optimization = False
        resnet = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.projection_head = SimCLRProjectionHead(512, 2048, 2048)
        self.classifier = nn.Linear(512, num_classes)
        # The first way: a criterion that takes the encoder and the views.
        self.criterion = AdversarialLoss(NTXentLoss(), attack, mode="replace")

    def forward(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def classification_loss(self, x, labels):
        logits = self.classifier(self.backbone(x).flatten(start_dim=1))
        return nn.functional.cross_entropy(logits, labels)

    def training_step(self, batch, batch_index):
        views, labels, _ = batch
        representation, online = self.optimizers()

        loss = self.criterion(self.forward, views[:2])
        representation.zero_grad()
        self.manual_backward(loss)
        representation.step()

        # The second way: an attack on any loss, each evaluation isolated.
        def objective(given):
            with isolated(self):
                return self.classification_loss(given[0], labels)

        (perturbed,) = attack(objective, [views[0]])
        online_loss = self.classification_loss(perturbed, labels)
        online.zero_grad()
        # The encoder learns nothing from labels.
        self.manual_backward(online_loss, inputs=list(self.classifier.parameters()))
        online.step()
        self.log_dict({"train_loss_ssl": loss, "train_loss_online": online_loss})

    def configure_optimizers(self):
        encoder = [*self.backbone.parameters(), *self.projection_head.parameters()]
        return (
            torch.optim.SGD(encoder, lr=0.06),
            torch.optim.SGD(self.classifier.parameters(), lr=0.1),
        )


parser = argparse.ArgumentParser()
parser.add_argument("--data", help="folder of images (default: CIFAR-10)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=256)
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()

transform = SimCLRTransform(input_size=32)
if args.data:
    dataset = LightlyDataset(args.data, transform=transform)
else:
    dataset = LightlyDataset.from_torch_dataset(
        torchvision.datasets.CIFAR10("datasets/cifar10", download=True),
        transform=transform,
    )
dataloader = torch.utils.data.DataLoader(
    dataset,
    batch_size=args.batch_size,
    shuffle=True,
    drop_last=True,
    num_workers=args.num_workers,
)

model = SimCLR(num_classes=10)
accelerator = "gpu" if torch.cuda.is_available() else "cpu"
trainer = pl.Trainer(max_epochs=args.epochs, devices=1, accelerator=accelerator)
trainer.fit(model=model, train_dataloaders=dataloader)
