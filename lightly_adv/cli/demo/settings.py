"""What the demo does, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

SCRATCH = "scratch"
STANDARD = "standard rotation"
ADVERSARIAL = "adversarial rotation"

NAMES = {
    SCRATCH: "adversarial training from scratch",
    STANDARD: "standard rotation + adversarial fine-tuning",
    ADVERSARIAL: "adversarial rotation + adversarial fine-tuning",
}
"""The arms: how each one is called in tables."""


@dataclass(frozen=True)
class Settings:
    """Everything that the results depend on, besides the seeds.

    Args:
        backbone: Name of the backbone.
        eps: Radius of the L-inf ball, in pixels of [0, 1].
        num_labelled: Number of labels, the same ones for all arms of a seed.
        val_fraction: Share of the training images for validation.
        pretraining_epochs: Epochs of rotation.
        pretraining_batch_size: Images in a batch of rotation.
        pretraining_steps: Steps of the attack of rotation, each of length eps.
        ramp: Share of pre-training over which eps grows.
        epochs: Epochs of fine-tuning.
        batch_size: Images in a batch of fine-tuning.
        steps: Steps of the attack of fine-tuning, each of 2 / 3 eps.
        lr: Highest learning rate, everywhere.
        val_steps: Steps of the attack on validation images after every epoch, each of
            eps / 2.
        max_val_samples: How many validation images that attack meets.
        suite: Attacks of the result.
        curve: Radii at which the curve is measured, in multiples of eps.
        curve_steps: Steps of the attacks of the curve.
        curve_samples: How many test images these meet.
    """

    backbone: str = "resnet8_tiny"
    eps: float = 32 / 255
    num_labelled: int = 100
    val_fraction: float = 0.2
    pretraining_epochs: int = 5
    pretraining_batch_size: int = 128
    pretraining_steps: int = 2
    ramp: float = 0.4
    epochs: int = 16
    batch_size: int = 50
    steps: int = 3
    lr: float = 0.1
    val_steps: int = 3
    max_val_samples: int = 70
    suite: str = "pgd-20"
    curve: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    curve_steps: int = 10
    curve_samples: int = 100

    @property
    def total_epochs(self) -> int:
        """Epochs of all trainings of one seed."""
        return 2 * self.pretraining_epochs + len(NAMES) * self.epochs
