# pip install "lightly-adv[all]"

# Adversarial MoCo in plain PyTorch: Lightly's example, and an attack in the loop. The
# settings suit a short run on one GPU; they are not those of the paper.

import argparse
import copy

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import MoCoV2Transform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from lightly.utils.scheduler import cosine_schedule
from torch import nn

from lightly_adv import PGD, ThreatModel, isolated


class MoCo(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.projection_head = MoCoProjectionHead(512, 512, 128)

        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)

        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)

    def forward(self, x):
        query = self.backbone(x).flatten(start_dim=1)
        query = self.projection_head(query)
        return query

    def forward_momentum(self, x):
        key = self.backbone_momentum(x).flatten(start_dim=1)
        key = self.projection_head_momentum(key).detach()
        return key


parser = argparse.ArgumentParser()
parser.add_argument("--data", help="folder of images (default: CIFAR-10)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=256)
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()

resnet = torchvision.models.resnet18()
backbone = nn.Sequential(*list(resnet.children())[:-1])
model = MoCo(backbone)

device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device)

transform = MoCoV2Transform(input_size=32)
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

criterion = NTXentLoss(memory_bank_size=(4096, 128))
optimizer = torch.optim.SGD(model.parameters(), lr=0.06)

print("Starting Training")
for epoch in range(args.epochs):
    total_loss = 0
    momentum = cosine_schedule(epoch, args.epochs, 0.996, 1)
    for batch in dataloader:
        update_momentum(model.backbone, model.backbone_momentum, m=momentum)
        update_momentum(
            model.projection_head, model.projection_head_momentum, m=momentum
        )
        x_query, x_key = batch[0]
        x_query = x_query.to(device)
        x_key = x_key.to(device)
        # The keys have no gradient, so they stay clean, and once is enough.
        key = model.forward_momentum(x_key)

        def objective(views, key=key):
            # The criterion holds the memory bank, which advances once a batch.
            with isolated(model), isolated(criterion):
                return criterion(model(views[0]), key)

        (adv_query,) = attack(objective, [x_query])
        loss = criterion(model(adv_query), key)
        total_loss += loss.detach()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    avg_loss = total_loss / len(dataloader)
    print(f"epoch: {epoch:>02}, loss: {avg_loss:.5f}")
