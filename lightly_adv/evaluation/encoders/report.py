"""What the attacks on an encoder found, as numbers, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightly_adv.attacks import Attack
from lightly_adv.evaluation import formatting, intervals, report
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.evaluation.encoders.measures import Pairs
from lightly_adv.evaluation.encoders.neighbors import NeighborBank

QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles of the cosine drift that are reported."""


@dataclass(frozen=True, eq=False)
class NeighborVerdict:
    """Which images the nearest neighbours put into the right class.

    Args:
        k: How many neighbours voted.
        temperature: With which temperature.
        num_bank: How many images there were in the bank.
        clean: Without an attack, bools (N,).
        robust: Without and under each of the attacks, bools (N,).
        impersonated: Of the images that are right without an attack and have a mate
            of another class: whether they are put into its class, bools (M,).
    """

    k: int
    temperature: float
    num_bank: int
    clean: Tensor
    robust: Tensor
    impersonated: Tensor

    @classmethod
    def of(cls, bank: NeighborBank, **flags: Tensor) -> NeighborVerdict:
        """Return the verdict of a bank."""
        return cls(bank.k, bank.temperature, len(bank.labels), **flags)

    def metrics(self) -> dict[str, float | None]:
        """Return the shares in percent; None where there was no image to count."""
        return {
            "val_knn_top1": _percent(self.clean),
            "val_robust_knn_top1": _percent(self.robust),
            "val_impersonation_rate": _percent(self.impersonated),
        }

    def intervals(self) -> dict[str, list[float]]:
        """Return the 95 % intervals of both accuracies, in percent."""
        return {
            name: list(intervals.wilson(int(flags.sum()), len(flags)))
            for name, flags in (("clean", self.clean), ("robust", self.robust))
        }


@dataclass(frozen=True, eq=False)
class EncoderReport:
    """How robust an encoder is, told without a classifier.

    Args:
        attack: The attack, with its threat model.
        distance: What was raised and measured.
        pairs: How images were paired.
        drift: Cosine distance of every attacked embedding from the clean one, (N,).
        breakaway: For every image the share of others that its attacked embedding is
            nearer to, see `measures.breakaway`.
        quantile: For every image the share of others that are nearer to it than its
            attacked embedding, see `measures.relative_quantile`.
        overlap: Of every image with a mate, whether their regions overlap, (M,).
        neighbors: What nearest neighbours said, if there was a bank.
        seed: Seed of noise and pairs.
        data_digest: Digest of all images and labels, however they are batched.
        batch_size: How many images were attacked at once; the noise hangs on it.
        device: Type of the device, such as "cuda".

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> found = EncoderReport(
        ...     attack=PGD(ThreatModel(eps=8 / 255), steps=20),
        ...     drift=torch.tensor([0.1, 0.2, 0.3, 0.6]),
        ...     breakaway=torch.tensor([0.0, 0.0, 0.5, 1.0]),
        ...     quantile=torch.tensor([0.0, 0.0, 0.5, 1.0]),
        ...     overlap=torch.tensor([True, False, False, False]),
        ... )
        >>> print(found)
        cosine drift 0.300, breakaway 37.5 %, overlap 25.0 % (PGD-20, Linf 8/255, 4 \
images)
    """

    attack: Attack
    drift: Tensor
    breakaway: Tensor
    quantile: Tensor
    overlap: Tensor
    neighbors: NeighborVerdict | None = None
    distance: Distance = "cosine"
    pairs: Pairs = "random"
    seed: int = 0
    data_digest: str = ""
    batch_size: int | None = None
    device: str | None = None

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.drift)

    @property
    def label(self) -> str:
        """What has to be said with every number: attack, threat model, images."""
        ball = formatting.ball(self.attack.threat_model)
        return f"{self._kind}, {ball}, {self.num_samples:,} images"

    def metrics(self) -> dict[str, float | None]:
        """Return all numbers by name: the drift as a distance, all else in percent."""
        drift = self.drift.double()
        points = torch.tensor(QUANTILES, dtype=drift.dtype, device=drift.device)
        quantiles = zip(QUANTILES, drift.quantile(points).tolist(), strict=True)
        return {
            **(self.neighbors.metrics() if self.neighbors else {}),
            "val_cosine_drift": float(drift.mean()),
            **{f"val_cosine_drift_q{100 * at:.0f}": value for at, value in quantiles},
            "val_relative_quantile": _percent(self.quantile),
            "val_breakaway_risk": _percent(self.breakaway),
            "val_nearest_neighbor_top1": _percent(self.breakaway == 0),
            "val_overlap_risk": _percent(self.overlap),
        }

    def __str__(self) -> str:
        """Return the main numbers in one line, with the attack."""
        found = self.metrics()
        parts = [
            f"{name} {_shown(key, found[key])}"
            for key, name in _SHOWN.items()
            if key in found
        ]
        return f"{', '.join(parts)} ({self.label})"

    def row(self, name: str = "encoder") -> dict[str, Any]:
        """Return the numbers in one row, for tables and figures.

        Accuracies are those of the nearest neighbours, None without a bank.

        Args:
            name: Name of the row. Results of the same name are taken for seeds.
        """
        metrics = self.metrics()
        threat_model = self.attack.threat_model
        return {
            "name": name,
            "clean_accuracy": metrics.get("val_knn_top1"),
            "robust_accuracy": metrics.get("val_robust_knn_top1"),
            **metrics,
            "suite": self._suite,
            "norm": threat_model.norm,
            "eps": threat_model.eps,
            "eps_text": formatting.fraction(threat_model.eps),
            "num_samples": self.num_samples,
        }

    def to_json(self, *, name: str = "encoder", indent: int | None = None) -> str:
        """Write the report as JSON: numbers, settings, versions, image by image.

        Args:
            name: Name of the row of this encoder.
            indent: As for `json.dumps`.
        """
        content = {
            "rows": [self.row(name)],
            "threat_model": report.describe_threat_model(self.attack.threat_model),
            "data": {"digest": self.data_digest, "num_samples": self.num_samples},
            "intervals": self.neighbors.intervals() if self.neighbors else {},
            "attack": report.describe(self.attack),
            "distance": self.distance,
            "pairs": self.pairs,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "device": self.device,
            "knn": self.neighbors
            and {
                "k": self.neighbors.k,
                "temperature": self.neighbors.temperature,
                "bank": self.neighbors.num_bank,
                "clean": self.neighbors.clean.int().tolist(),
                "robust": self.neighbors.robust.int().tolist(),
            },
            "drift": [round(value, 6) for value in self.drift.tolist()],
            "versions": report.versions(),
        }
        return json.dumps(content, indent=indent)

    @property
    def _kind(self) -> str:
        return f"{type(self.attack).__name__}-{self.attack.steps}"

    @property
    def _suite(self) -> str:
        """What the accuracies in the row are."""
        if self.neighbors is None:
            return self._kind
        return f"robust kNN, {self._kind}, k={self.neighbors.k}"


def _percent(shares: Tensor) -> float | None:
    return 100 * float(shares.double().mean()) if len(shares) else None


def _shown(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if key == "val_cosine_drift" else f"{value:.1f} %"


_SHOWN = {
    "val_knn_top1": "kNN clean",
    "val_robust_knn_top1": "robust",
    "val_cosine_drift": "cosine drift",
    "val_breakaway_risk": "breakaway",
    "val_overlap_risk": "overlap",
    "val_impersonation_rate": "impersonation",
}
"""What is printed, and what it is called there."""
