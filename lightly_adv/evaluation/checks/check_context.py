"""What the checks of an evaluation look at."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import APGD, PGD, Attack
from lightly_adv.evaluation.checks import trace
from lightly_adv.evaluation.checks.trace import Trace
from lightly_adv.isolation import rng
from lightly_adv.threat_model import ThreatModel

MOST_ATTACKED = 24
"""How many images a check attacks, at most."""


@dataclass(frozen=True, eq=False)
class CheckContext:
    """A classifier that was attacked, and some of the images it was attacked on.

    Args:
        model: Maps images to logits; isolated, see `Evaluation`.
        images: Images of shape (B, C, H, W), on the device of the model.
        labels: The true classes, of shape (B,).
        correct: Which of them the model classifies correctly without an attack.
        robust: Which of them stay correctly classified under the suite.
        threat_model: What the attacks may do.
        attacks: The attacks of the suite, by name.
        seed: Seed of the noise.
        batch_size: How many images the model takes at once.
        surrogate: Another classifier, to attack this one by; None if there is none.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    correct: Tensor
    robust: Tensor
    threat_model: ThreatModel
    attacks: Mapping[str, Attack]
    seed: int = 0
    batch_size: int = 64
    surrogate: nn.Module | None = None

    @cached_property
    def logits(self) -> Tensor:
        """The logits of the images, of shape (B, C)."""
        return self.logits_of(self.images, batch_size=self.batch_size)

    @cached_property
    def logits_again(self) -> Tensor:
        """The logits of a second evaluation."""
        return self.logits_of(self.images, batch_size=self.batch_size)

    def logits_of(self, images: Tensor, *, batch_size: int) -> Tensor:
        """Return the logits of images, computed in batches of that size."""
        parts = torch.split(images, batch_size)
        return torch.cat([self.model(part) for part in parts])

    @property
    def correct_rows(self) -> Tensor:
        """Numbers of correct images, at most `MOST_ATTACKED`."""
        return self.correct.nonzero().flatten()[:MOST_ATTACKED]

    @property
    def robust_rows(self) -> Tensor:
        """Numbers of robust images, at most `MOST_ATTACKED`."""
        return self.robust.nonzero().flatten()[:MOST_ATTACKED]

    @property
    def correct_count(self) -> int:
        """The number of correct images that belong to the `robust_rows`.

        What a check finds on some of the robust images is a share of the accuracy,
        so it is compared with as large a share of the correct images.
        """
        correct, robust = int(self.correct.sum()), int(self.robust.sum())
        taken = len(self.robust_rows)
        return round(correct * taken / robust) if robust else correct

    @cached_property
    def attack(self) -> Attack:
        """The first gradient attack of the suite, run once.

        It starts at random, so that it is another run with every generator.
        """
        for attack in self.attacks.values():
            if type(attack) in (PGD, APGD):
                return replace(attack, restarts=1, random_start=True)
        if "apgd-ce" in self.attacks:  # of AutoAttack, run by another package
            return APGD(self.threat_model, steps=self.attacks["apgd-ce"].steps)
        return PGD(self.threat_model, steps=20)

    @cached_property
    def long_run(self) -> Trace:
        """This attack on the robust images with twice the steps."""
        longer = replace(self.attack, steps=2 * self.attack.steps)
        return self.attacked(longer, self.robust_rows, key="long run")

    def attacked(
        self, attack: Attack, rows: Tensor, *, key: str, model: nn.Module | None = None
    ) -> Trace:
        """Attack some of the images.

        Args:
            attack: The attack.
            rows: Numbers of the images.
            key: Name of the run, which its noise is seeded by.
            model: Another classifier to attack.
        """
        return trace.attacked(
            model or self.model,
            self.images[rows],
            self.labels[rows],
            attack,
            generator=self.generator(key),
            batch_size=self.batch_size,
        )

    def parts(self, rows: Tensor) -> Iterator[Tensor]:
        """Yield the numbers of as many images as the model takes at once."""
        yield from torch.split(rows, self.batch_size)

    def generator(self, key: str) -> Generator:
        """Return a source of noise of its own for everything that has a name."""
        return rng.batch_generator(self.seed, 1, zlib.crc32(key.encode()))
