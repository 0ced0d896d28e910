"""The trainings of the demo: what one seed does, one arm after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.attacks import PGD, AttackSchedule
from lightly_adv.callbacks import RobustValidation
from lightly_adv.cli.demo.settings import ADVERSARIAL, NAMES, SCRATCH, Settings
from lightly_adv.data import DigitsDataModule
from lightly_adv.evaluation import create_suite, evaluate_robustness, robust_curve
from lightly_adv.lightning import pl
from lightly_adv.methods import PretextModule, RobustClassifier
from lightly_adv.threat_model import ThreatModel

Report = Callable[[str, dict[str, float]], None]
"""Told the stage and what was logged, after every epoch."""


class History(pl.Callback):
    """Keep robust accuracy on validation images after every epoch, and report.

    Args:
        stage: What is trained.
        report: Where to report.
    """

    def __init__(self, stage: str, report: Report) -> None:
        self.stage = stage
        self.report = report
        self.robust: list[float] = []

    def on_train_epoch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Take down what validation has found."""
        logged = {name: float(v) for name, v in trainer.callback_metrics.items()}
        self.robust.append(logged["val_robust_top1"])
        self.report(f"{self.stage} {len(self.robust)}/{trainer.max_epochs}", logged)


@dataclass
class Seed:
    """One seed: its data, its trainings, its results.

    Args:
        seed: Seed of the labelled subset, the weights, the batches and the noise.
        settings: Everything else.
        report: Where to report progress.
    """

    seed: int
    settings: Settings
    report: Report
    threat_model: ThreatModel = field(init=False)

    def __post_init__(self) -> None:
        """Get the data ready."""
        chosen = self.settings
        self.threat_model = ThreatModel(norm="Linf", eps=chosen.eps)
        options = {"seed": self.seed, "val_fraction": chosen.val_fraction}
        self.images = DigitsDataModule(
            batch_size=chosen.pretraining_batch_size, **options
        )
        self.labelled = DigitsDataModule(
            batch_size=chosen.batch_size, num_labelled=chosen.num_labelled, **options
        )

    def run(self, arm: str) -> dict[str, Any]:
        """Run one arm; return its results, ready for JSON but for the images."""
        started = time.perf_counter()
        backbone = None if arm == SCRATCH else self.pretrain(arm)
        pretrained = time.perf_counter()
        classifier, history = self.fine_tune(arm, backbone)
        fine_tuned = time.perf_counter()
        return {
            **self.evaluate(arm, classifier),
            "val_robust_accuracy": history,
            "pretraining_seconds": pretrained - started,
            "fine_tuning_seconds": fine_tuned - pretrained,
            "images": self.attack_images(classifier),
        }

    def pretrain(self, arm: str) -> nn.Module:
        """Return a backbone that was trained on rotation."""
        chosen = self.settings
        attack = PGD(
            self.threat_model, steps=chosen.pretraining_steps, step_size=chosen.eps
        )
        pl.seed_everything(self.seed, verbose=False)
        module = PretextModule(
            "rotation",
            backbone=chosen.backbone,
            attack=AttackSchedule(attack, chosen.ramp) if arm == ADVERSARIAL else None,
            val_attack=attack,
            lr=chosen.lr,
            channels_last=True,
        )
        history = History(arm, self.report)
        self._fit(module, self.images, chosen.pretraining_epochs, history)
        return module.backbone

    def fine_tune(
        self, arm: str, backbone: nn.Module | None
    ) -> tuple[RobustClassifier, list[float]]:
        """Return a classifier after adversarial fine-tuning, and how it came there."""
        chosen = self.settings
        pl.seed_everything(self.seed, verbose=False)
        classifier = RobustClassifier(
            backbone or chosen.backbone,
            num_classes=self.labelled.num_classes,
            attack=PGD(
                self.threat_model, steps=chosen.steps, step_size=2 / 3 * chosen.eps
            ),
            lr=chosen.lr,
            channels_last=True,
        )
        history = History(f"{arm}, fine-tuning", self.report)
        validation = RobustValidation(
            self.threat_model,
            suite=create_suite("pgd", steps=chosen.val_steps, step_size=chosen.eps / 2),
            max_samples=chosen.max_val_samples,
        )
        self._fit(classifier, self.labelled, chosen.epochs, validation, history)
        return classifier, history.robust

    def evaluate(self, arm: str, classifier: nn.Module) -> dict[str, Any]:
        """Attack the test images at eps, and some of them at other radii."""
        chosen, loader = self.settings, self.labelled.test_dataloader()
        self.report(f"{arm}, attack on test images", {})
        found = evaluate_robustness(
            classifier, loader, self.threat_model, suite=chosen.suite
        )
        curve = robust_curve(
            classifier,
            loader,
            self.threat_model,
            [multiple * chosen.eps for multiple in chosen.curve],
            suite=create_suite(
                "pgd", steps=chosen.curve_steps, max_samples=chosen.curve_samples
            ),
        )
        name = NAMES[arm]
        return {
            **found.row(name),
            "warnings": found.warnings,
            "curve": [each.row(name) for each in curve],
        }

    def attack_images(self, classifier: nn.Module) -> dict[str, Any]:
        """Return the first test image of every class, clean and adversarial."""
        dataset = self.labelled.test_dataset
        first = [int((dataset.labels == label).nonzero()[0]) for label in range(10)]
        images, labels = dataset.__getitems__(first)

        def objective(views: Any) -> Tensor:
            return nn.functional.cross_entropy(
                classifier(views[0]), labels, reduction="none"
            )

        classifier.eval()
        generator = torch.Generator().manual_seed(self.seed)
        attack = PGD(self.threat_model, steps=20)
        (adversarial,) = attack(objective, [images], generator=generator)
        with torch.no_grad():
            predictions = [classifier(x).argmax(1) for x in (images, adversarial)]
        tensors = (images, adversarial, labels, *predictions)
        names = ("clean", "adversarial", "labels", "before", "after")
        # NumPy arrays travel between processes as bytes; tensors take open files.
        return {n: t.numpy() for n, t in zip(names, tensors, strict=True)}

    def _fit(
        self,
        module: pl.LightningModule,
        data: DigitsDataModule,
        epochs: int,
        *callbacks: pl.Callback,
    ) -> None:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            callbacks=list(callbacks),
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data)
