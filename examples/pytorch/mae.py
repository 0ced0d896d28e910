# pip install "lightly-adv[all]"

# Adversarial MAE in plain PyTorch: Lightly's example, and an attack in the loop. The
# settings suit a short run on one GPU; they are not those of the paper.

import argparse

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.models import utils
from lightly.models.modules import (
    MaskedVisionTransformerDecoderTIMM,
    MaskedVisionTransformerTIMM,
)
from lightly.transforms import MAETransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from timm.models.vision_transformer import vit_tiny_patch16_224
from torch import nn

from lightly_adv import PGD, ThreatModel, isolated


class MAE(nn.Module):
    def __init__(self, vit):
        super().__init__()
        decoder_dim = 128
        self.mask_ratio = 0.75
        self.patch_size = vit.patch_embed.patch_size[0]
        self.backbone = MaskedVisionTransformerTIMM(vit=vit)
        self.sequence_length = self.backbone.sequence_length
        self.decoder_embed = nn.Linear(vit.embed_dim, decoder_dim)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            num_patches=vit.patch_embed.num_patches,
            embed_dim=decoder_dim,
            depth=1,
            num_heads=4,
            num_prefix_tokens=vit.num_prefix_tokens,
        )
        self.prediction_head = nn.Linear(decoder_dim, self.patch_size**2 * 3)

    def forward_encoder(self, images, idx_keep=None):
        return self.backbone.encode(images=images, idx_keep=idx_keep)

    def forward_decoder(self, x_encoded, idx_keep, idx_mask):
        # Put the encoded tokens into a sequence of full length, whose other places the
        # decoder fills with its mask token.
        x_decode = self.decoder_embed(x_encoded)
        size = (len(x_decode), self.sequence_length, x_decode.shape[-1])
        x_masked = utils.set_at_index(x_decode.new_zeros(size), idx_keep, x_decode)
        x_decoded = self.decoder(x_masked, idx_mask=idx_mask)

        # Predict the pixels of the masked patches.
        x_pred = utils.get_at_index(x_decoded, idx_mask)
        x_pred = self.prediction_head(x_pred)
        return x_pred

    def forward(self, images):
        idx_keep, idx_mask = utils.random_token_mask(
            size=(len(images), self.sequence_length),
            mask_ratio=self.mask_ratio,
            device=images.device,
        )
        x_encoded = self.forward_encoder(images, idx_keep)
        x_pred = self.forward_decoder(x_encoded, idx_keep, idx_mask)

        # The class token has no patch.
        patches = utils.patchify(images, self.patch_size)
        target = utils.get_at_index(patches, idx_mask - 1)
        return x_pred, target


parser = argparse.ArgumentParser()
parser.add_argument("--data", help="folder of images (default: CIFAR-10)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=256)
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()

vit = vit_tiny_patch16_224(img_size=32, patch_size=4, num_classes=0)
model = MAE(vit)

device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device)

transform = MAETransform(input_size=32)
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

criterion = nn.MSELoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-4)


def mae_loss(views):
    predictions, targets = model(views[0])  # the list holds a single view
    return criterion(predictions, targets)


def objective(views):
    # Inside, random numbers are those that come after it, so the attack sees the mask
    # that the training step is going to draw.
    with isolated(model):
        return mae_loss(views)


print("Starting Training")
for epoch in range(args.epochs):
    total_loss = 0
    for batch in dataloader:
        views = [view.to(device) for view in batch[0]]
        adv_views = attack(objective, views)
        loss = mae_loss(adv_views)
        total_loss += loss.detach()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    avg_loss = total_loss / len(dataloader)
    print(f"epoch: {epoch:>02}, loss: {avg_loss:.5f}")
