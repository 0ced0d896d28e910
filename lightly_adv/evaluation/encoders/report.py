"""How robust an encoder is, as numbers, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightly_adv.evaluation import formatting, statistics
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.evaluation.encoders.measures import Pairs
from lightly_adv.evaluation.encoding import Flags, Numbers
from lightly_adv.evaluation.report import Report
from lightly_adv.threat_model import ThreatModel

QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles of the cosine drift that are reported."""


@dataclass(frozen=True, eq=False)
class NeighborResult:
    """Which images the nearest neighbours put into the right class.

    Args:
        k: How many neighbours voted.
        temperature: With which temperature.
        num_bank: How many images there were in the bank.
        clean: Without an attack, bools (N,).
        robust: Without and under each of the attacks, bools (N,).
        impersonated: Of the images that are right without an attack and have a
            partner of another class: whether they are put into its class, bools (M,).
    """

    k: int
    temperature: float
    num_bank: int
    clean: Flags
    robust: Flags
    impersonated: Flags

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
            name: statistics.interval(flags)
            for name, flags in (("clean", self.clean), ("robust", self.robust))
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class EncoderReport(Report):
    """How robust an encoder is, measured without a classifier.

    Args:
        attack: The numbers that the attack ran with; see `Attack.settings`.
        threat_model: What it was allowed to do.
        distance: What was raised and measured.
        pairs: How images were paired.
        drift: Cosine distance of every attacked embedding from the clean one, (N,).
        breakaway: For every image the share of others that its attacked embedding is
            nearer to, see `measures.breakaway`.
        quantile: For every image the share of others that are nearer to it than its
            attacked embedding, see `measures.relative_quantile`.
        overlap: Of every image with a partner, whether their regions overlap, (M,).
        neighbors: Classification by nearest neighbours, if there was a bank.

    Examples:
        >>> from lightly_adv import PGD
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=20)
        >>> found = EncoderReport(
        ...     attack=attack.settings(),
        ...     threat_model=attack.threat_model,
        ...     drift=torch.tensor([0.1, 0.2, 0.3, 0.6]),
        ...     breakaway=torch.tensor([0.0, 0.0, 0.5, 1.0]),
        ...     quantile=torch.tensor([0.0, 0.0, 0.5, 1.0]),
        ...     overlap=torch.tensor([True, False, False, False]),
        ... )
        >>> print(found)
        cosine drift 0.300, breakaway 37.5 %, overlap 25.0 % (PGD-20, Linf 8/255, 4 \
images)
    """

    attack: Mapping[str, Any]
    threat_model: ThreatModel
    drift: Numbers
    breakaway: Numbers
    quantile: Numbers
    overlap: Flags
    neighbors: NeighborResult | None = None
    distance: Distance = "cosine"
    pairs: Pairs = "random"
    name: str = "encoder"

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.drift)

    @property
    def conditions(self) -> str:
        """The attack."""
        return formatting.attack(self.attack)

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

    @property
    def summary(self) -> str:
        """The main numbers."""
        metrics = self.metrics()
        return ", ".join(
            f"{words} {_shown(key, metrics[key])}"
            for key, words in _SHOWN.items()
            if key in metrics
        )

    def numbers(self) -> dict[str, Any]:
        """Return all metrics; accuracies are those of the nearest neighbours."""
        metrics, kind = self.metrics(), self.conditions
        knn = self.neighbors and f"robust kNN, {kind}, k={self.neighbors.k}"
        return {
            "clean_accuracy": metrics.get("val_knn_top1"),
            "robust_accuracy": metrics.get("val_robust_knn_top1"),
            **metrics,
            "suite": knn or kind,
        }

    def derived(self) -> dict[str, Any]:
        """Return the intervals of both accuracies of the nearest neighbours."""
        return {"intervals": self.neighbors.intervals() if self.neighbors else {}}


def _percent(shares: Tensor) -> float | None:
    return statistics.percent(shares) if len(shares) else None


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
