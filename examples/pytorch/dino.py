# pip install "lightly-adv[all]"

# Adversarial DINO in plain PyTorch: Lightly's example, and an attack in the loop. The
# settings suit a short run on one GPU; they are not those of the paper.

import argparse
import copy

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import DINOTransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from lightly.utils.scheduler import cosine_schedule
from torch import nn

from lightly_adv import PGD, ThreatModel, isolated


class DINO(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.student_backbone = backbone
        self.student_head = DINOProjectionHead(512, 512, 64, 2048, freeze_last_layer=1)
        self.teacher_backbone = copy.deepcopy(backbone)
        self.teacher_head = DINOProjectionHead(512, 512, 64, 2048)
        deactivate_requires_grad(self.teacher_backbone)
        deactivate_requires_grad(self.teacher_head)

    def forward(self, x):
        y = self.student_backbone(x).flatten(start_dim=1)
        z = self.student_head(y)
        return z

    def forward_teacher(self, x):
        y = self.teacher_backbone(x).flatten(start_dim=1)
        z = self.teacher_head(y)
        return z


parser = argparse.ArgumentParser()
parser.add_argument("--data", help="folder of images (default: CIFAR-10)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()

resnet = torchvision.models.resnet18()
backbone = nn.Sequential(*list(resnet.children())[:-1])
model = DINO(backbone)

device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device)

transform = DINOTransform(global_crop_size=32, local_crop_size=16)
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

criterion = DINOLoss(output_dim=2048, warmup_teacher_temp_epochs=5).to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)


def dino_loss(views, epoch):
    teacher_out = [model.forward_teacher(view) for view in views[:2]]
    student_out = [model(view) for view in views]
    return criterion(teacher_out, student_out, epoch=epoch)


print("Starting Training")
for epoch in range(args.epochs):
    total_loss = 0
    momentum = cosine_schedule(epoch, args.epochs, 0.996, 1)

    def objective(views, epoch=epoch):
        # The criterion holds the center, which advances once a batch.
        with isolated(model), isolated(criterion):
            return dino_loss(views, epoch)

    for batch in dataloader:
        update_momentum(model.student_backbone, model.teacher_backbone, m=momentum)
        update_momentum(model.student_head, model.teacher_head, m=momentum)
        views = [view.to(device) for view in batch[0]]
        adv_views = attack(objective, views)
        loss = dino_loss(adv_views, epoch)
        total_loss += loss.detach()
        loss.backward()
        model.student_head.cancel_last_layer_gradients(current_epoch=epoch)
        optimizer.step()
        optimizer.zero_grad()
    avg_loss = total_loss / len(dataloader)
    print(f"epoch: {epoch:>02}, loss: {avg_loss:.5f}")
