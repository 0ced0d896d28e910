"""What a pretext task is: a draw, a network, and a loss of what was drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lightly_adv.models import backbones
from lightly_adv.models.normalization import NormalizeChoice, create_normalize


class PretextTask(nn.Module, ABC):
    """A question about images that answers itself, and the network that is asked.

    All randomness of the question is in `draw`. Everything after it is a function of
    its results, so an attack on `inputs` sees the very question that the network is
    trained on:

        inputs, targets = task.draw(images)
        inputs = attack(lambda views: task.loss(views[0], targets), [inputs])[0]
        loss = task.loss(inputs, targets)

    A new task implements `draw` and `forward`. Where the network has to know what was
    drawn it overrides `logits`, where the right answers are not the targets
    themselves `labels`, and where the answers are no classes `criterion`. The
    backbone, which is what is kept after training, is an attribute.

    Args:
        backbone: A name that timm knows or a module, from images (B, 3, H, W) to
            features (B, D).
        normalize: Mean and std that `features` applies in front of the backbone.
            "auto" takes those that the backbone was made for, ImageNet's if it does
            not say; None is for backbones that take plain pixels.

    Raises:
        ValueError: If the name of the backbone is unknown.
    """

    def __init__(
        self,
        backbone: str | nn.Module,
        *,
        normalize: NormalizeChoice = "auto",
    ) -> None:
        super().__init__()
        self.backbone = backbones.create_backbone(backbone)
        self.normalize = create_normalize(normalize, self.backbone)

    @abstractmethod
    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Turn images into a question and its answer.

        Args:
            images: Images of shape (B, 3, H, W) with pixels in [0, 1].
            generator: Where the randomness comes from; torch's global generator if
                None.

        Returns:
            Inputs, pixels in [0, 1] with B first, and targets.
        """

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the network makes of inputs: logits of shape (B, ..., classes).

        A task that overrides `logits` is free to return something else.
        """

    def features(self, inputs: Tensor) -> Tensor:
        """Return the features (B, D) of images (B, 3, H, W) in [0, 1]."""
        found: Tensor = self.backbone(self.normalize(inputs))
        return found

    def logits(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the logits of the answers, of shape (B, ..., classes).

        Args:
            inputs: What `draw` returned, or a perturbed version of it.
            targets: What `draw` returned with it, for tasks whose question depends
                on what was drawn.
        """
        del targets
        found: Tensor = self(inputs)
        return found

    def labels(self, targets: Tensor) -> Tensor:
        """Return the right answers, integers of shape (B, ...): the targets."""
        return targets

    def criterion(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits: the mean cross-entropy."""
        labels = self.labels(targets)
        return F.cross_entropy(logits.flatten(0, -2), labels.flatten())

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of inputs: `criterion` of their `logits`."""
        return self.criterion(self.logits(inputs, targets), targets)

    def accuracy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return how many answers are right, in percent, from `logits`."""
        right = logits.detach().argmax(dim=-1) == self.labels(targets)
        return 100 * right.float().mean()

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Put inputs, or a perturbation of them, back where they are in the images.

        It undoes what `draw` did with the places of pixels, which makes the inputs of
        different tasks comparable. Linear in the inputs.

        Args:
            inputs: What `draw` returned, or a tensor of that shape.
            targets: What `draw` returned with it.

        Returns:
            Tensor of shape (B, 3, H, W).

        Raises:
            NotImplementedError: If the task does not say how.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not implement restore(inputs, targets), which "
            "says where in the images its inputs come from; for a task that moves no "
            "pixels it returns the inputs."
        )
