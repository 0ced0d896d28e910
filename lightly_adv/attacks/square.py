"""The Square attack: a random search that needs no gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lightly_adv.attacks.attack import Attack, Track
from lightly_adv.attacks.classification import ClassificationObjective, require
from lightly_adv.functional import norms
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Objective

LARGEST = 0.5
"""Share of the image that the first square covers."""

SMALLEST = 0.02
"""Share of the image that the last one covers."""


@dataclass(frozen=True)
class Square(Attack):
    """Random search over squares that asks a classifier for nothing but its logits.

    Every step sets one square of the image, all of it in one colour, as far as the
    threat model allows, and keeps it where the margin of the true class does not grow.
    The squares shrink. An image is left as soon as it is misclassified. This is a short
    version of the published attack, for all norms. It has to be given a
    `ClassificationObjective`, whose model and labels it uses.

    - [0] Square Attack: a query-efficient black-box adversarial attack via random
      search, 2019, https://arxiv.org/abs/1912.00049

    See `Attack` for the arguments. `steps` is the number of queries per image; the
    first one is for stripes over all of it, whatever `random_start` says. `step_size`
    is not used: a square crosses the whole ball.

    Examples:
        >>> import torch
        >>> from lightly_adv import ThreatModel
        >>> from lightly_adv.attacks import ClassificationObjective, Square
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
        >>> objective = ClassificationObjective(model, torch.tensor([0, 3]))
        >>> attack = Square(ThreatModel(eps=0.1), steps=20)
        >>> perturbed, = attack(objective, [torch.rand(2, 3, 2, 2)])
        >>> perturbed.shape
        torch.Size([2, 3, 2, 2])
    """

    steps: int = 1000

    @property
    def resolved_step_size(self) -> float:
        """Length of a step in pixels: 2 eps, across the ball."""
        return 2 * self.threat_model.eps

    def _run(
        self, objective: Objective, tracks: list[Track], generator: Generator
    ) -> list[Tensor]:
        classification = require(objective, attack=type(self).__name__)
        track, *others = tracks  # a classifier looks at the first view only
        delta = self._search(classification, track, generator)
        perturbed = self.threat_model.apply(track.view, delta, track.box)
        return [perturbed, *(other.view for other in others)]

    def _search(
        self, objective: ClassificationObjective, track: Track, generator: Generator
    ) -> Tensor:
        """Return the perturbations with the smallest margins."""
        best = torch.zeros_like(track.box.lower)
        margin = torch.full((len(best),), torch.inf, device=best.device)
        rows = torch.arange(len(best), device=best.device)
        left = Track(track.view, track.box, best.clone(), True, {"margin": margin})
        for step in range(self.steps):
            move = self._move(left.delta, step, generator)
            self._query(objective, left, move)
            best[rows] = left.delta
            correct = (left.memory["margin"] >= 0).nonzero().flatten()
            if len(correct) == 0:
                break
            if len(correct) < len(rows):
                rows, left = rows[correct], left.subset(correct)
                objective = objective.subset(correct)
        return best

    def _move(self, like: Tensor, step: int, generator: Generator) -> Tensor:
        if step == 0:
            return _stripes(like, self.threat_model, generator)
        share = LARGEST * (SMALLEST / LARGEST) ** (step / self.steps)
        return _squares(like, self.threat_model, share, generator)

    def _query(
        self, objective: ClassificationObjective, track: Track, move: Tensor
    ) -> None:
        """Keep the move for the images whose margin does not grow."""
        delta = self.threat_model.project(track.delta + move, track.box)
        perturbed = self.threat_model.apply(track.view, delta, track.box)
        with torch.no_grad():
            margin = _margin(objective.logits([perturbed]), objective.labels)
        # Equal margins count, so that it wanders where the answer is flat.
        better = margin <= track.memory["margin"]
        rows = better.view(-1, *[1] * (delta.dim() - 1))
        track.delta = torch.where(rows, delta, track.delta)
        track.memory["margin"] = torch.where(better, margin, track.memory["margin"])


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the true class wins over all others, of shape (B,)."""
    logits = logits.float()
    true = logits.gather(1, labels[:, None]).squeeze(1)
    return true - logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def _stripes(like: Tensor, threat_model: ThreatModel, generator: Generator) -> Tensor:
    """Return vertical stripes, each of one colour."""
    signs = _signs((*like.shape[:-2], 1, like.shape[-1]), generator).to(like)
    stripes: Tensor = _amplitude(like[0].numel(), threat_model) * signs
    return stripes.expand_as(like)


def _squares(
    like: Tensor, threat_model: ThreatModel, share: float, generator: Generator
) -> Tensor:
    """Return one square for every image, 0 outside of it."""
    count, *channels, height, width = like.shape
    side = max(round((share * height * width) ** 0.5), 1)
    high, wide = min(side, height), min(side, width)
    rows = _interval(count, high, height, generator)
    columns = _interval(count, wide, width, generator)
    inside = rows[:, :, None] & columns[:, None, :]
    inside = inside.view(count, *[1] * len(channels), height, width)
    signs = _signs((count, *channels, 1, 1), generator)
    amplitude = _amplitude(signs[:1].numel() * high * wide, threat_model)
    squares: Tensor = amplitude * (inside * signs).to(like)
    return squares


def _interval(count: int, length: int, size: int, generator: Generator) -> Tensor:
    """Draw intervals of one length; return bools of shape (count, size)."""
    device = generator.device
    shape = (count, 1)
    start = torch.randint(size - length + 1, shape, generator=generator, device=device)
    position = torch.arange(size, device=device)
    return (position >= start) & (position < start + length)


def _amplitude(entries: int, threat_model: ThreatModel) -> float:
    """Return how far each of so many entries has to move to cross the ball."""
    spread = norms.norm_of_ones(entries, norm=threat_model.norm)
    amplitude: float = 2 * threat_model.eps / spread
    return amplitude


def _signs(shape: tuple[int, ...], generator: Generator) -> Tensor:
    drawn = torch.randint(2, shape, generator=generator, device=generator.device)
    return 2.0 * drawn - 1.0
