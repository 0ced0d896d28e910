"""What a pretext task is: a draw, a network, and a loss of what was drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Generator, Tensor, nn


class PretextTask(nn.Module, ABC):
    """A question about pictures that answers itself, and the network that is asked.

    All randomness is in `draw`. Everything after it is a function of its results, so
    an attack on `inputs` sees the very question that the network is trained on:

        inputs, targets = task.draw(images)
        inputs = attack(lambda views: task.loss(views[0], targets), [inputs])[0]
        loss = task.loss(inputs, targets)

    A new task implements `draw` and `forward`, and `criterion` if its targets are
    not classes. The backbone, which is what is kept after training, is an attribute.

    Args:
        backbone: Network from pictures (B, 3, H, W) to features (B, D).
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Turn pictures into a question and its answer.

        Args:
            images: Pictures of shape (B, 3, H, W) with pixels in [0, 1].
            generator: Where the randomness comes from; torch's global generator if
                None.

        Returns:
            Inputs, pixels in [0, 1] with B first, and targets.
        """

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the answers, of shape (B, ..., classes)."""

    def criterion(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits: the mean cross-entropy."""
        return F.cross_entropy(logits.flatten(0, -2), targets.flatten())

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of inputs: `criterion(forward(inputs), targets)`."""
        return self.criterion(self(inputs), targets)

    def accuracy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return how many answers are right, in percent, from logits of `forward`."""
        right = logits.detach().argmax(dim=-1) == targets
        return 100 * right.float().mean()
