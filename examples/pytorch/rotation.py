# pip install "lightly-adv[all]"

# Adversarial rotation in plain PyTorch: a pretext task, and an attack in the loop. The
# settings suit a short run on one GPU; they are not those of the paper.

import argparse

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import nn

from lightly_adv import PGD, ThreatModel, isolated
from lightly_adv.pretext import RotationPredictionHead, rotate


class Rotation(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.prediction_head = RotationPredictionHead(512, num_classes=4)

    def forward(self, x):
        x = self.backbone(x).flatten(start_dim=1)
        logits = self.prediction_head(x)
        return logits


parser = argparse.ArgumentParser()
parser.add_argument("--data", help="folder of images (default: CIFAR-10)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=256)
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()

resnet = torchvision.models.resnet18()
backbone = nn.Sequential(*list(resnet.children())[:-1])
model = Rotation(backbone)

device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device)

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

criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.06)

print("Starting Training")
for epoch in range(args.epochs):
    total_loss = 0
    for batch in dataloader:
        images = batch[0].to(device)
        # The question is asked once; attack and training step answer the same one.
        turns = rotate.balanced_labels(len(images), device=device)
        views = [rotate.rotate(images, turns)]

        def objective(views, turns=turns):
            # The attack looks at the loss five times; BatchNorm must not notice.
            with isolated(model):
                return criterion(model(views[0]), turns)

        adv_views = attack(objective, views)
        loss = criterion(model(adv_views[0]), turns)
        total_loss += loss.detach()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    avg_loss = total_loss / len(dataloader)
    print(f"epoch: {epoch:>02}, loss: {avg_loss:.5f}")
