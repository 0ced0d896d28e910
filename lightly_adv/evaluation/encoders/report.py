"""How robust an encoder is, as numbers, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from lightly_adv.evaluation import formatting, report, statistics
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.evaluation.encoders.measures import Pairs
from lightly_adv.evaluation.encoders.neighbors import NeighborBank
from lightly_adv.evaluation.report import Report
from lightly_adv.json_files import Need, Needs, has, is_list, is_number
from lightly_adv.threat_model import ThreatModel

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
            name: statistics.interval(flags)
            for name, flags in (("clean", self.clean), ("robust", self.robust))
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "k": self.k,
            "temperature": self.temperature,
            "bank": self.num_bank,
            "clean": report.to_marks(self.clean),
            "robust": report.to_marks(self.robust),
            "impersonated": report.to_marks(self.impersonated),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> NeighborVerdict:
        """Return what `to_dict` has written."""
        flags = ("clean", "robust", "impersonated")
        return cls(
            content["k"],
            content["temperature"],
            content["bank"],
            **{name: report.to_flags(content[name]) for name in flags},
        )


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
        overlap: Of every image with a mate, whether their regions overlap, (M,).
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
    drift: Tensor
    breakaway: Tensor
    quantile: Tensor
    overlap: Tensor
    neighbors: NeighborVerdict | None = None
    distance: Distance = "cosine"
    pairs: Pairs = "random"
    name: str = "encoder"

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.drift)

    @property
    def label(self) -> str:
        """What has to be said with every number: attack, threat model, images."""
        ball = formatting.ball(self.threat_model)
        kind = formatting.attack(self.attack)
        return f"{kind}, {ball}, {report.images(self.num_samples)}"

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

    def row(self, name: str | None = None) -> dict[str, Any]:
        """Return the numbers in one row, for tables and figures.

        Accuracies are those of the nearest neighbours, None without a bank.

        Args:
            name: Name of the row. Defaults to that of the encoder.
        """
        metrics = self.metrics()
        return {
            "name": self.name if name is None else name,
            "clean_accuracy": metrics.get("val_knn_top1"),
            "robust_accuracy": metrics.get("val_robust_knn_top1"),
            **metrics,
            "suite": self._suite,
            "norm": self.threat_model.norm,
            "eps": self.threat_model.eps,
            "eps_text": formatting.fraction(self.threat_model.eps),
            "num_samples": self.num_samples,
        }

    def results(self) -> dict[str, Any]:
        """Return settings, intervals, and what was measured image by image."""
        return {
            "attack": dict(self.attack),
            "distance": self.distance,
            "pairs": self.pairs,
            "intervals": self.neighbors.intervals() if self.neighbors else {},
            "knn": self.neighbors and self.neighbors.to_dict(),
            "drift": self.drift.tolist(),
            "breakaway": self.breakaway.tolist(),
            "quantile": self.quantile.tolist(),
            "overlap": report.to_marks(self.overlap),
        }

    @classmethod
    def needs(cls, content: Mapping[str, Any]) -> Needs:
        """Return what the JSON of such a report has to hold, besides the facts."""
        numbers = Need(lambda part: is_list(part, is_number), "a number per image")
        return {
            "threat_model": Need(bool, "norm, eps and two bounds"),
            "attack": Need(formatting.is_attack, "an object with type and steps"),
            **dict.fromkeys(("drift", "breakaway", "quantile", "overlap"), numbers),
            "distance": Need(lambda x: x in get_args(Distance), "a distance"),
            "pairs": Need(lambda x: x in get_args(Pairs), "a kind of pairs"),
            "knn": Need(_is_verdict, "what the nearest neighbours gave, or null"),
        }

    @classmethod
    def read_results(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that `results` was made of."""
        same = ("attack", "distance", "pairs")
        measured = ("drift", "breakaway", "quantile")
        knn = content.get("knn")
        return {
            **{key: content[key] for key in same},
            **{key: torch.tensor(content[key]) for key in measured},
            "overlap": report.to_flags(content["overlap"]),
            "neighbors": knn and NeighborVerdict.from_dict(knn),
        }

    @property
    def _suite(self) -> str:
        """What the accuracies in the row are."""
        kind = formatting.attack(self.attack)
        return f"robust kNN, {kind}, k={self.neighbors.k}" if self.neighbors else kind


def _is_verdict(part: Any) -> bool:
    flags = ("clean", "robust", "impersonated")
    return part is None or (
        has(part, "k", "temperature", "bank", *flags)
        and all(is_list(part[name], is_number) for name in flags)
    )


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
