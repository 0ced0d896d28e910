"""Robust accuracy over the radius and over the steps of PGD, on a few images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightly_adv.evaluation import formatting, statistics, suites
from lightly_adv.evaluation.evaluate import robust_curve
from lightly_adv.evaluation.robustness_report import RobustnessReport
from lightly_adv.threat_model import ThreatModel

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Radii of the curve, as multiples of that of the threat model."""

STEPS = (1, 2, 5, 10, 20, 50)
"""Numbers of steps of the other curve."""

USUAL = 20
"""Steps of the curve over the radius."""


@dataclass(frozen=True)
class Curves:
    """Robust accuracy under PGD over the radius and over the steps, in percent.

    Args:
        num_samples: On how many images.
        eps: Points with `eps`, `eps_text`, `robust_accuracy` and its `interval`; the
            first one is without an attack.
        steps: Points with `steps`, `robust_accuracy` and its `interval`.
    """

    num_samples: int
    eps: Sequence[dict[str, Any]]
    steps: Sequence[dict[str, Any]]

    @property
    def passes(self) -> int:
        """Their cost, in passes of one image, forward and backward."""
        over_eps = (len(self.eps) - 1) * USUAL
        over_steps = sum(int(each["steps"]) for each in self.steps) - USUAL
        return self.num_samples * (over_eps + over_steps)

    def to_dict(self) -> dict[str, Any]:
        """Return them ready for JSON."""
        return {
            "attack": "PGD, steps of eps / 4",
            "num_samples": self.num_samples,
            "passes": self.passes,
            "steps_over_eps": USUAL,
            "eps": list(self.eps),
            "steps": list(self.steps),
        }


def measure_curves(
    model: nn.Module,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    *,
    max_samples: int = 128,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
    state: str | os.PathLike[str] | None = None,
) -> Curves:
    """Run PGD with several radii, and with several numbers of steps.

    Accuracy should fall to about 0 as the radius grows, and should hardly fall beyond
    the number of steps that the suite takes.

    Args:
        model: See `evaluate_robustness`, also for the arguments not explained here.
        loader: Batches; iterated once per point.
        threat_model: What the attacks may do, with a radius above 0.
        max_samples: On how many images, the first ones.
        device: Where to evaluate.
        seed: Seed of the noise.
        progress: Show progress bars.
        state: Prefix of the paths of the state files, for resuming.

    Raises:
        ValueError: If the radius is 0.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 5)]
        >>> curves = measure_curves(model, batches, ThreatModel(eps=8 / 255))
        >>> [point["eps_text"] for point in curves.eps]
        ['0', '2/255', '4/255', '8/255', '16/255', '32/255']
        >>> [point["steps"] for point in curves.steps]
        [1, 2, 5, 10, 20, 50]
    """
    if threat_model.eps == 0:
        raise ValueError("eps=0 has no curve; expected a radius above 0.")

    def run(steps: int, radii: Sequence[float]) -> list[RobustnessReport]:
        return robust_curve(
            model,
            loader,
            threat_model,
            radii,
            suite=suites.pgd(steps=steps, max_samples=max_samples),
            device=device,
            seed=seed,
            progress=progress,
            state=None if state is None else f"{os.fspath(state)}.pgd-{steps}",
        )

    radii = _radii(threat_model)
    over_eps = dict(zip(radii, run(USUAL, radii), strict=True))
    usual = over_eps[threat_model.eps]
    over_steps = {
        steps: usual if steps == USUAL else run(steps, [threat_model.eps])[0]
        for steps in STEPS
    }
    eps = [_at(0.0, usual, "clean")]
    eps += [_at(radius, found) for radius, found in over_eps.items()]
    steps = [{"steps": n, **_accuracy(found)} for n, found in over_steps.items()]
    return Curves(usual.num_samples, eps, steps)


def _radii(threat_model: ThreatModel) -> list[float]:
    """Return the radii, up to the one that reaches every image."""
    found = [each * threat_model.eps for each in MULTIPLES]
    return [each for each in found if threat_model.norm != "Linf" or each <= 1]


def _at(
    radius: float, report: RobustnessReport, flag: str | None = None
) -> dict[str, Any]:
    text = formatting.fraction(radius)
    return {"eps": radius, "eps_text": text, **_accuracy(report, flag)}


def _accuracy(report: RobustnessReport, flag: str | None = None) -> dict[str, Any]:
    flags = report.flags[flag or list(report.flags)[-1]]
    return {
        "robust_accuracy": statistics.percent(flags),
        "interval": statistics.interval(flags),
    }
