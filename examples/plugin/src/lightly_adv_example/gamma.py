"""Telling which gamma curve an image went through."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from lightly_adv.models import NormalizeChoice, feature_dim
from lightly_adv.pretext import PretextTask


class GammaTask(PretextTask):
    """Predict which of a few gamma curves, pixels ** gamma, each image was given.

    A small task to show how one is made. It asks for brightness and contrast rather
    than for what is in the image, so expect less of its features than of those of
    rotation.

    Args:
        backbone: A name that timm knows or a module, from images (B, 3, H, W) to
            features (B, D).
        gammas: The exponents, of which each is a class. Below 1 images get
            brighter, above 1 darker.
        normalize: Mean and std that are applied inside, in front of the backbone.
            "auto" takes those that it was made for, ImageNet's if it does not say;
            None is for backbones that take plain pixels.

    Raises:
        ValueError: If there are fewer than two exponents, or one is not positive.

    Examples:
        >>> task = GammaTask(backbone="resnet8_tiny")
        >>> inputs, targets = task.draw(torch.rand(8, 3, 32, 32))
        >>> task.loss(inputs, targets).shape
        torch.Size([])
    """

    gammas: Tensor

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        gammas: Sequence[float] = (0.4, 0.75, 1.35, 2.5),
        normalize: NormalizeChoice = "auto",
    ) -> None:
        super().__init__(backbone, normalize=normalize)
        if len(gammas) < 2 or min(gammas) <= 0:
            raise ValueError(
                f"gammas={tuple(gammas)}; expected at least two positive exponents."
            )
        self.register_buffer("gammas", torch.tensor(gammas), persistent=False)
        self.head = nn.Linear(feature_dim(self.backbone), len(gammas))

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give each image a curve that is drawn for it.

        Returns:
            The images after their curves, and the classes of shape (B,).
        """
        # A generator belongs to a device, which need not be that of the images.
        device = generator.device if generator else torch.device("cpu")
        drawn = torch.randint(
            len(self.gammas), (len(images),), generator=generator, device=device
        )
        targets = drawn.to(images.device)
        exponents = self.gammas.to(images)[targets]
        return images ** exponents[:, None, None, None], targets

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the curves, shape (B, number of curves)."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the inputs: a curve moves no pixels."""
        del targets
        return inputs
