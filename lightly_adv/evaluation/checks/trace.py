"""The losses and predictions of a classifier during an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from lightly_adv.attacks import Attack, ClassificationObjective
from lightly_adv.types import Views


class Trace(NamedTuple):
    """One run of an attack on some images.

    Args:
        losses: Cross-entropy at every evaluation, of shape (evaluations, B), float32,
            on the CPU; NaN where an image was not looked at.
        wrong: Where it was misclassified, bools of the same shape.
    """

    losses: Tensor
    wrong: Tensor

    def broken(self, *, steps: int) -> Tensor:
        """Return which images are misclassified where they are after some steps.

        Those that left the run before, which are done, count as they left it.

        Args:
            steps: Number of steps; before the first one there was an evaluation, too.

        Examples:
            >>> losses = torch.tensor([[1.0], [2.0], [torch.nan]])
            >>> trace = Trace(losses, torch.tensor([[False], [True], [False]]))
            >>> [trace.broken(steps=steps).tolist() for steps in (0, 2)]
            [[False], [True]]
        """
        looked_at = ~self.losses[: steps + 1].isnan()
        rows = torch.arange(len(looked_at))[:, None]
        last = torch.where(looked_at, rows, 0).amax(dim=0, keepdim=True)
        return self.wrong.gather(0, last).squeeze(0)


class _Moment(NamedTuple):
    """What the classifier said to some of the images."""

    indices: Tensor
    losses: Tensor
    wrong: Tensor


@dataclass(frozen=True, eq=False)
class Recorder(ClassificationObjective):
    """The cross-entropy of a classifier, which notes what it was at every evaluation.

    Args:
        indices: Indices of the images, of shape (B,).
        moments: List that they are added to.
    """

    indices: Tensor
    moments: list[_Moment]

    def logits(self, views: Views) -> Tensor:
        """Return the logits of the images, and note what they say."""
        logits = super().logits(views)
        said = logits.detach().float()
        losses = functional.cross_entropy(said, self.labels, reduction="none")
        wrong = said.argmax(dim=1) != self.labels
        moment = _Moment(self.indices.cpu(), losses.cpu(), wrong.cpu())
        self.moments.append(moment)
        return logits


def attacked(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    generator: Generator,
    batch_size: int,
) -> Trace:
    """Run an attack and return what the classifier said on the way.

    Args:
        model: Maps images to logits.
        images: Images of shape (B, C, H, W), on the device of the model.
        labels: The true classes, of shape (B,).
        attack: The attack, with one restart.
        generator: Source of its noise.
        batch_size: How many images to attack at once.
    """
    runs = []
    parts = zip(
        torch.split(images, batch_size), torch.split(labels, batch_size), strict=True
    )
    for part, true in parts:
        indices = torch.arange(len(part), device=part.device)
        recorder = Recorder(model, true, indices, [])
        (perturbed,) = attack(recorder, [part], generator=generator)
        recorder.logits([perturbed])  # PGD does not look at where it comes to an end
        runs.append((recorder.moments, len(part)))
    count = max((len(moments) for moments, _ in runs), default=0)
    tables = [_table(moments, count, size) for moments, size in runs]
    return Trace(*(torch.cat(each, dim=1) for each in zip(*tables, strict=True)))


def _table(moments: list[_Moment], count: int, size: int) -> tuple[Tensor, Tensor]:
    losses = torch.full((count, size), torch.nan)
    wrong = torch.zeros(count, size, dtype=torch.bool)
    for row, moment in enumerate(moments):
        losses[row, moment.indices] = moment.losses
        wrong[row, moment.indices] = moment.wrong
    return losses, wrong
