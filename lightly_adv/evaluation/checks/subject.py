"""What the checks look at."""

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
class Subject:
    """A classifier that was attacked, and some of the images it was attacked on.

    Args:
        model: Maps images to logits; inside of `verdicts.undisturbed`.
        images: Images of shape (B, C, H, W), on the device of the model.
        labels: The right classes, of shape (B,).
        right: Which of them the model got right without an attack.
        standing: Which of them withstood the suite.
        threat_model: What the attacks may do.
        attacks: The attacks of the suite, by name.
        seed: Seed of the noise.
        batch_size: How many images the model takes at once.
        surrogate: Another classifier, to attack this one by; None if there is none.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    right: Tensor
    standing: Tensor
    threat_model: ThreatModel
    attacks: Mapping[str, Attack]
    seed: int = 0
    batch_size: int = 64
    surrogate: nn.Module | None = None

    @cached_property
    def logits(self) -> Tensor:
        """What the model says to the images, of shape (B, C)."""
        return self.ask(self.images, batch_size=self.batch_size)

    @cached_property
    def logits_again(self) -> Tensor:
        """What it says to them when it is asked a second time."""
        return self.ask(self.images, batch_size=self.batch_size)

    def ask(self, images: Tensor, *, batch_size: int) -> Tensor:
        """Return what the model says to images that come so many at once."""
        parts = torch.split(images, batch_size)
        return torch.cat([self.model(part) for part in parts])

    @property
    def right_rows(self) -> Tensor:
        """Numbers of images that are right without an attack, not too many."""
        return self.right.nonzero().flatten()[:MOST_ATTACKED]

    @property
    def standing_rows(self) -> Tensor:
        """Numbers of images that withstood the suite, not too many."""
        return self.standing.nonzero().flatten()[:MOST_ATTACKED]

    @property
    def stands_for(self) -> int:
        """How many right images there would be, did no more than those stand.

        What a check finds on some of the standing images is a share of the accuracy,
        so the right images have to be counted that belong to them.
        """
        right, standing = int(self.right.sum()), int(self.standing.sum())
        taken = len(self.standing_rows)
        return round(right * taken / standing) if standing else right

    @cached_property
    def attack(self) -> Attack:
        """The first attack of the suite that climbs a gradient, run once.

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
        """What came of this attack on the standing images with twice the steps."""
        longer = replace(self.attack, steps=2 * self.attack.steps)
        return self.attacked(longer, self.standing_rows, key="long run")

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
