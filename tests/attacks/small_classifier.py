"""A small classifier, and images that it tells apart with some effort."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional


def labelled_images(
    count: int, *, seed: int, classes: int = 10
) -> tuple[Tensor, Tensor]:
    """Noisy images around one random pattern per class, in [0, 1]."""
    patterns = torch.rand(classes, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    noise = torch.rand(count, 3, 8, 8, generator=generator)
    return 0.4 + 0.1 * patterns[labels] + 0.15 * noise, labels


@functools.cache
def trained(*, classes: int = 10, steps: int = 150) -> nn.Module:
    """Train a small convolutional network, in about a second; leave it as it is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 16, classes),
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(steps):
        images, labels = labelled_images(64, seed=100 + step, classes=classes)
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval().requires_grad_(False)
