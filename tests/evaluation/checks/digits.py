"""Small classifiers of 8 x 8 digits, trained in seconds."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from lightly_adv.attacks import PGD, ClassificationObjective
from lightly_adv.threat_model import ThreatModel

TRAINED_AT = ThreatModel(eps=0.1)
TRAIN = 1200


@functools.cache
def sample_images() -> tuple[Tensor, Tensor]:
    """Return all digits, (B, 1, 8, 8) in [0, 1], in an order of chance, and labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], labels[order]


def loader() -> list[tuple[Tensor, Tensor]]:
    """Return the digits that nothing is trained on, 200 of them."""
    images, labels = (each[TRAIN : TRAIN + 200] for each in sample_images())
    return list(zip(torch.split(images, 100), torch.split(labels, 100), strict=True))


@functools.cache
def trained(*, attacked: bool, seed: int = 0) -> nn.Module:
    """Train a small convolutional network, on adversarial images or on clean ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * 16, 10),
        )
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    attack = PGD(TRAINED_AT, steps=3, step_size=0.05)
    images, labels = (each[:TRAIN] for each in sample_images())
    for _ in range(6):
        for rows in torch.split(torch.randperm(TRAIN, generator=generator), 100):
            batch, right = images[rows], labels[rows]
            if attacked:
                objective = ClassificationObjective(model, right)
                (batch,) = attack(objective, [batch], generator=generator)
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(batch), right))
            optimizer.step()
    return model.eval()
