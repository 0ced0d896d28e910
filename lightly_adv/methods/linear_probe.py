"""One fixed way to tell by a linear head how good and how robust an encoder is."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightly_adv.evaluation import (
    RobustnessReport,
    batches,
    create_suite,
    evaluate_robustness,
)
from lightly_adv.isolation import modes, rng
from lightly_adv.lightning import pl
from lightly_adv.methods.fit import fit
from lightly_adv.methods.linear_classifier import (
    STEPS,
    FinetuningProtocol,
    LinearClassifier,
    check_protocol,
)
from lightly_adv.models import backbones
from lightly_adv.threat_model import ThreatModel

EPOCHS = 25
LR = 0.1
SUITE = "pgd-20"
MONITOR = "val_robust_top1"


@dataclass(frozen=True, eq=False)
class LinearProbeReport:
    """What a probe found, of its last and of its best epoch.

    Args:
        protocol: "SLF", "ALF" or "AFF".
        settings: The numbers that it was trained with.
        reports: The evaluations of "last" and "best".
        epochs: After how many epochs each was taken.
        classifiers: The weights of each, for a `LinearClassifier`.
    """

    protocol: FinetuningProtocol
    settings: Mapping[str, Any]
    reports: Mapping[str, RobustnessReport]
    epochs: Mapping[str, int]
    classifiers: Mapping[str, Mapping[str, Tensor]]

    def __str__(self) -> str:
        """Return one line for each."""
        return "\n".join(
            f"{self.protocol}, {name} (epoch {self.epochs[name]}): {report}"
            for name, report in self.reports.items()
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each, with accuracies in percent."""
        return [
            {**report.row(f"{self.protocol} {name}"), "epochs": self.epochs[name]}
            for name, report in self.reports.items()
        ]

    def to_json(self, *, indent: int | None = None) -> str:
        """Write rows, settings and both reports as JSON."""
        reports = {n: json.loads(each.to_json()) for n, each in self.reports.items()}
        content = {
            "rows": self.rows(),
            "protocol": self.protocol,
            "settings": dict(self.settings),
            "reports": reports,
        }
        return json.dumps(content, indent=indent)


def linear_probe(
    encoder: nn.Module,
    train: DataLoader[Any],
    val: DataLoader[Any],
    test: DataLoader[Any],
    threat_model: ThreatModel,
    *,
    num_classes: int,
    protocol: FinetuningProtocol = "SLF",
    epochs: int = EPOCHS,
    max_samples: int | None = None,
    accelerator: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> LinearProbeReport:
    """Train a `LinearClassifier` on an encoder, always in the same way, and attack it.

    The protocol is: SGD with momentum 0.9, no weight decay, a learning rate of 0.1 for
    a batch of 256 which falls to zero on a cosine; 25 epochs; PGD-10 with steps of
    eps / 4 where perturbed images are trained on; the best epoch is that with the
    highest accuracy under PGD-20 on the first 512 validation images, the first one
    if there are several. The last and the best are evaluated by PGD-20 on test
    images, which nothing is chosen by. Results are comparable if only encoder and
    seed differ; what differs from the protocol is told by the settings.

    Args:
        encoder: Maps images of shape (B, C, H, W) to features; it is copied.
        train: Shuffled batches (images, labels, ...) to train on.
        val: Batches to choose the epoch by.
        test: Batches to report.
        threat_model: What the attacks may do. Its `normalize` must be what the
            transforms did to the images.
        num_classes: Number of classes.
        protocol: "SLF", "ALF" or "AFF", see `LinearClassifier`.
        epochs: Number of epochs.
        max_samples: Evaluate only the first that many test images.
        accelerator: Where to compute, as for `pl.Trainer`.
        seed: Seed of the head, the order of the images and the noise. The global
            random states are afterwards what they were.
        progress: Show progress bars.

    Returns:
        A report on the last and on the best epoch.

    Raises:
        ValueError: If the protocol is unknown, `epochs` less than 1, or a loader empty.
    """
    check_protocol(protocol)
    if epochs < 1:
        raise ValueError(f"epochs={epochs} is too small; expected at least 1.")
    best = _KeepBest()
    with rng.forked():
        for name, loader in (("val", val), ("test", test)):
            _first(loader, name)  # refuses an empty one before anything is trained
        rng.reseed(seed)
        batch_size = _batch_size(train)
        classifier = LinearClassifier(
            copy.deepcopy(encoder),
            batch_size,
            lr=LR,
            feature_dim=_feature_dim(encoder, train),
            num_classes=num_classes,
            protocol=protocol,
            threat_model=threat_model,
        )
        trainer = fit(
            classifier,
            train,
            val,
            epochs=epochs,
            callbacks=[best],
            accelerator=accelerator,
            enable_progress_bar=progress,
        ).trainer
    states = {"last": _state(classifier), "best": best.state}
    reports = {}
    for name, state in states.items():
        classifier.load_state_dict(state)
        reports[name] = evaluate_robustness(
            classifier,
            test,
            threat_model,
            suite=create_suite(SUITE, max_samples=max_samples),
            device=trainer.strategy.root_device,
            seed=seed,
            progress=progress,
        )
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": LR,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "attack_steps": None if protocol == "SLF" else STEPS,
        "chosen_by": MONITOR,
        "seed": seed,
    }
    counts = {"last": epochs, "best": best.epochs}
    return LinearProbeReport(protocol, settings, reports, counts, states)


class _KeepBest(pl.Callback):
    """Keep the weights of the epoch with the highest robust accuracy in memory."""

    def __init__(self) -> None:
        self.value = float("-inf")
        self.epochs = 0
        self.state: dict[str, Tensor] = {}

    def on_validation_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Compare, and copy."""
        value = float(trainer.callback_metrics[MONITOR])
        if value > self.value:
            self.value = value
            self.epochs = trainer.current_epoch + 1
            self.state = _state(pl_module)


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def _batch_size(loader: DataLoader[Any]) -> int:
    size = loader.batch_size
    return size if size is not None else len(_first(loader, "train"))


def _feature_dim(encoder: nn.Module, loader: DataLoader[Any]) -> int:
    """Return the number of features of an image."""
    like = next(encoder.parameters(), torch.empty(0))
    with modes.evaluation_mode(encoder), torch.no_grad():
        found = encoder(_first(loader, "train")[:1].to(like.device))
        features = backbones.one_tensor(found, encoder)
    return int(features.flatten(start_dim=1).shape[1])


def _first(loader: DataLoader[Any], name: str) -> Tensor:
    """Return the images of the first batch, or say that there is none."""
    return next(batches.first(loader, None, what=f"the loader {name!r}"))[0]
