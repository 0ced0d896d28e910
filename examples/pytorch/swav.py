# pip install "lightly-adv[all]"

# Adversarial SwAV in plain PyTorch: Lightly's example, and an attack in the loop. The
# settings suit a short run on one GPU; they are not those of the paper.

import argparse

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import SwaVLoss
from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes
from lightly.transforms import SwaVTransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import nn

from lightly_adv import PGD, ThreatModel, isolated


class SwaV(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.projection_head = SwaVProjectionHead(512, 512, 128)
        self.prototypes = SwaVPrototypes(128, n_prototypes=512)

    def forward(self, x):
        x = self.backbone(x).flatten(start_dim=1)
        x = self.projection_head(x)
        x = nn.functional.normalize(x, dim=1, p=2)
        p = self.prototypes(x)
        return p


parser = argparse.ArgumentParser()
parser.add_argument("--data", help="folder of images (default: CIFAR-10)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()

resnet = torchvision.models.resnet18()
backbone = nn.Sequential(*list(resnet.children())[:-1])
model = SwaV(backbone)

device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device)

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

criterion = SwaVLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)


def swav_loss(views):
    multi_crop_features = [model(view) for view in views]
    high_resolution = multi_crop_features[:2]
    low_resolution = multi_crop_features[2:]
    # SwaVLoss has shape (1,).
    return criterion(high_resolution, low_resolution).squeeze()


def objective(views):
    # The attack looks at the loss five times a batch; BatchNorm must not notice.
    with isolated(model):
        return swav_loss(views)


print("Starting Training")
for epoch in range(args.epochs):
    total_loss = 0
    for batch in dataloader:
        model.prototypes.normalize()
        views = [view.to(device) for view in batch[0]]
        adv_views = attack(objective, views)
        loss = swav_loss(adv_views)
        total_loss += loss.detach()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    avg_loss = total_loss / len(dataloader)
    print(f"epoch: {epoch:>02}, loss: {avg_loss:.5f}")
