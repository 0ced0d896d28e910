"""The trainings of the demo: one arm with one seed, from data to accuracies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import nn

from lightly_adv.attacks import PGD, AttackSchedule
from lightly_adv.callbacks import RobustValidation
from lightly_adv.cli import lightning_messages
from lightly_adv.data import DigitsDataModule
from lightly_adv.evaluation import create_suite, evaluate_robustness, robust_curve
from lightly_adv.evaluation.card import examples, page
from lightly_adv.lightning import pl
from lightly_adv.methods import PretextModule, RobustClassifier
from lightly_adv.methods.fit import Training, fit
from lightly_adv.threat_model import ThreatModel

SCRATCH = "scratch"
ADVERSARIAL = "adversarial rotation"

ARMS = {
    SCRATCH: "adversarial training from scratch",
    "standard rotation": "standard rotation + adversarial fine-tuning",
    ADVERSARIAL: "adversarial rotation + adversarial fine-tuning",
}
"""The arms, and their names in tables."""


@dataclass(frozen=True)
class Settings:
    """The sizes of the demo.

    Args:
        eps: Radius of the L-inf ball, in pixels of [0, 1].
        labels: Number of labelled images, the same ones for all arms of a seed.
        pretraining_epochs: Epochs of rotation.
        epochs: Epochs of fine-tuning.
        lr: Highest learning rate, everywhere.
        suite: Attacks on the test images.
    """

    eps: float = 32 / 255
    labels: int = 100
    pretraining_epochs: int = 5
    epochs: int = 16
    lr: float = 0.1
    suite: str = "pgd-20"

    @property
    def threat_model(self) -> ThreatModel:
        """The L-inf ball."""
        return ThreatModel(norm="Linf", eps=self.eps)

    @property
    def total_epochs(self) -> int:
        """Epochs of all arms of one seed."""
        return 2 * self.pretraining_epochs + len(ARMS) * self.epochs


class EpochCounter(pl.Callback):
    """Count the epochs of all processes in one number that they share."""

    shared: ClassVar[Any] = None

    def on_train_epoch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Count one more."""
        if self.shared is not None:
            with self.shared.get_lock():
                self.shared.value += 1


def begin(epochs: Any) -> None:
    """Prepare a process: where to count epochs, and which messages to hide."""
    EpochCounter.shared = epochs
    lightning_messages.hide_harmless()


def run_arm(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Train one arm and attack the result; return what was measured.

    Returns:
        A `row` with accuracies and times, the rows of the `curve` over eps, and
        `examples` for a page.
    """
    digits = partial(DigitsDataModule, seed=seed, val_fraction=0.2)
    data = digits(batch_size=50, num_labelled=settings.labels)
    backbone: str | nn.Module = "resnet8_tiny"
    seconds = 0.0
    if arm != SCRATCH:
        pl.seed_everything(seed, verbose=False)
        module = _pretext_module(settings, is_adversarial=arm == ADVERSARIAL)
        images = digits(batch_size=128)
        seconds = _fit(module, images, settings.pretraining_epochs).seconds
        backbone = module.backbone
    pl.seed_everything(seed, verbose=False)
    classifier = _classifier(backbone, settings)
    training = _fit(classifier, data, settings.epochs, _validation(settings))
    result = _attack(classifier, data.test_dataloader(), settings, name=ARMS[arm])
    result["row"] |= {
        "val_robust_accuracy": [
            logged["val_robust_top1"] for logged in training.validations
        ],
        "seconds": seconds + training.seconds,
    }
    return result


def _pretext_module(settings: Settings, *, is_adversarial: bool) -> PretextModule:
    attack = PGD(settings.threat_model, steps=2, step_size=settings.eps)
    return PretextModule(
        "rotation",
        backbone="resnet8_tiny",
        attack=AttackSchedule(attack, ramp=0.4) if is_adversarial else None,
        val_attack=attack,
        lr=settings.lr,
        channels_last=True,
    )


def _classifier(backbone: str | nn.Module, settings: Settings) -> RobustClassifier:
    return RobustClassifier(
        backbone,
        num_classes=10,
        attack=PGD(settings.threat_model, steps=3, step_size=2 / 3 * settings.eps),
        lr=settings.lr,
        channels_last=True,
    )


def _validation(settings: Settings) -> RobustValidation:
    suite = create_suite("pgd", steps=3, step_size=settings.eps / 2)
    return RobustValidation(settings.threat_model, suite=suite, max_samples=70)


def _fit(
    module: pl.LightningModule, data: Any, epochs: int, *callbacks: pl.Callback
) -> Training:
    counted = [*callbacks, EpochCounter()]
    return fit(module, data, epochs=epochs, callbacks=counted, accelerator="cpu")


def _attack(
    classifier: nn.Module, loader: Any, settings: Settings, *, name: str
) -> dict[str, Any]:
    """Attack the test images at eps, and the first 100 at other radii."""
    threat_model, suite = settings.threat_model, create_suite(settings.suite)
    report = evaluate_robustness(classifier, loader, threat_model, suite=suite)
    curve = robust_curve(
        classifier,
        loader,
        threat_model,
        [multiple * settings.eps for multiple in (0.0, 0.5, 1.0, 1.5, 2.0)],
        suite=create_suite("pgd", steps=10, max_samples=100),
    )
    attacked = examples.attack_again(classifier, loader, report, suite)
    return {
        "row": {**report.row(name), "warnings": report.warnings},
        "curve": [point.row(name) for point in curve],
        "examples": [page.shown(example, None) for example in attacked],
    }
