"""What is compared, and at which size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightly_adv.methods import CleanConstraint

EPS = 2 / 255
"""What is trained against, in pixels."""

TESTED = (1 / 255, 2 / 255)
"""What is attacked with."""


@dataclass(frozen=True)
class Arm:
    """One way to make the encoder robust.

    Args:
        title: What it is called in the table.
        options: Arguments of `RobustDistillation`.
        rates: Learning rates to choose from.
        clean_passes: Forward and backward passes of clean images through the student.
        timed: Whether it trains as long as FARE, instead of as many updates.
    """

    title: str
    options: dict[str, Any]
    rates: tuple[float, ...] = (3e-4, 1e-3)
    clean_passes: int = 0
    timed: bool = False

    def arguments(self) -> dict[str, Any]:
        """Return the arguments, with new objects."""
        return {
            name: value() if callable(value) else value
            for name, value in self.options.items()
        }


ARMS = {
    "fare": Arm("FARE: L2, all layers", {}),
    "lore": Arm(
        "LORE: and a bound of 0.05", {"fidelity": CleanConstraint}, clean_passes=2
    ),
    "cosine": Arm("cosine, all layers", {"distance": "cosine"}),
    "last": Arm("L2, last 3 stages", {"trainable": "last:3"}, timed=True),
    "lora": Arm(
        "L2, LoRA of rank 8", {"trainable": "lora:8"}, (1e-3, 3e-3), timed=True
    ),
}
"""What is compared."""


@dataclass(frozen=True)
class Settings:
    """How much of everything.

    Args:
        image_size: Height and width of all images.
        updates: Weight updates of FARE; the arms of equal time have others.
        search_updates: Weight updates of the search for a learning rate.
        batch_size: Images of an update.
        steps: Steps of the attack in training, each of eps / 2.
        bank: Labelled training images for nearest neighbours and linear probe.
        validation: Training images, of neither of these, that the rate is chosen on.
        test: Test images.
        attack_steps: Steps of APGD on test images.
        neighbors: How many vote.
    """

    image_size: int = 48
    updates: int = 300
    search_updates: int = 60
    batch_size: int = 32
    steps: int = 3
    bank: int = 4000
    validation: int = 300
    test: int = 1000
    attack_steps: int = 20
    neighbors: int = 20


TINY = Settings(
    image_size=32,
    updates=2,
    search_updates=1,
    batch_size=4,
    steps=1,
    bank=8,
    validation=4,
    test=4,
    attack_steps=2,
    neighbors=2,
)
"""To see that it runs."""
