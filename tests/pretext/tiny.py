"""A network that tells its stages, and tasks of other packages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn

from lightly_adv.pretext import PretextTask


class TinyNet(nn.Module):
    """Two stages behind a stem, each with BatchNorm, smooth everywhere."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 2, bias=False)
        self.layer1 = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Tanh())
        self.layer2 = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Tanh())

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {"stem": r"^stem", "blocks": r"^layer(\d+)"}

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.layer2(self.layer1(self.stem(images)))
        return maps.square().mean(dim=(2, 3))


class BrightTask(PretextTask):
    """Tell which of two halves was made darker; as another package might have it."""

    def __init__(self, backbone: str | nn.Module, *, factor: float = 0.5) -> None:
        super().__init__(backbone)
        self.factor = factor
        self.head = nn.Linear(4, 2)

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        targets = torch.randint(2, (len(images),), generator=generator)
        half = images.shape[-1] // 2
        inputs = images.clone()
        inputs[targets == 0, ..., :half] *= self.factor
        inputs[targets == 1, ..., half:] *= self.factor
        return inputs, targets

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(inputs))
        return logits


class CroppedTask(BrightTask):
    """Inputs of another size than the images."""

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        inputs, targets = super().draw(images, generator)
        return inputs[..., :4, :4], targets


class FlatTask(BrightTask):
    """Inputs of as many pixels as the images, in another shape."""

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        inputs, targets = super().draw(images, generator)
        upper, lower = inputs.chunk(2, dim=2)
        return torch.cat([upper, lower], dim=3), targets

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.cat(inputs.chunk(2, dim=3), dim=2)


def no_task(backbone: nn.Module) -> Any:
    """Something that is no task."""
    return nn.Linear(4, 2)
