"""What is trained and measured: settings, arms, and where results are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import yaml

from lightly_adv import PGD, ThreatModel

RECIPES = Path(__file__).parents[2] / "recipes" / "paper_claims"
ENSEMBLE = "ensemble"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A way to pre-train: on a task, without or with an attack; or not at all."""

    pretraining: Literal["none", "standard", "adversarial"]
    task: str | None = None
    diversity: str | None = None

    @property
    def name(self) -> str:
        parts = [self.pretraining, self.task, self.diversity and f"h-{self.diversity}"]
        return "-".join(part for part in parts if part)

    @property
    def title(self) -> str:
        """Name in tables."""
        if self.task is None:
            return "from scratch"
        ending = f", h {self.diversity}" if self.diversity else ""
        return f"{self.pretraining} {self.task}{ending}"


SCRATCH = Arm("none")


def arms_of(settings: Settings) -> list[Arm]:
    """Return all ways to pre-train, longest training first."""
    chosen = settings["pretraining"]
    ensembles = [
        Arm("adversarial", ENSEMBLE, diversity)
        for diversity in chosen["ensemble"]["diversity"]
    ]
    adversarial = [Arm("adversarial", task) for task in chosen["tasks"]]
    standard = [Arm("standard", task) for task in chosen["tasks"]]
    return [*reversed(ensembles), *adversarial, *standard]


def pretraining_of(settings: Settings, arm: Arm) -> Settings:
    """Return the settings of pre-training, with the overrides of task and arm."""
    chosen = settings["pretraining"]
    found = {**chosen, "epochs": chosen["epochs"][arm.pretraining]}
    for name in (arm.task, f"{arm.pretraining}-{arm.task}"):
        for key, value in chosen["overrides"].get(name, {}).items():
            found[key] = {**found[key], **value} if isinstance(value, dict) else value
    return found


def protocols_of(settings: Settings, arm: Arm) -> list[str]:
    """Return the protocols that an arm is fine-tuned by."""
    chosen = settings["finetuning"]
    left_out = chosen["left_out"].get(arm.task, [])
    return [name for name in chosen["protocols"] if name not in left_out]


def threat_model_of(settings: Settings) -> ThreatModel:
    """Return the threat model, in pixels of [0, 1]."""
    chosen = settings["threat_model"]
    return ThreatModel(norm=chosen["norm"], eps=float(Fraction(str(chosen["eps"]))))


def attack_of(settings: Settings, part: str) -> PGD:
    """Return the attack of "pretraining" or "finetuning"."""
    threat_model, chosen = threat_model_of(settings), settings[part]["attack"]
    step_size = chosen["step_size"] * threat_model.eps
    return PGD(threat_model, steps=chosen["steps"], step_size=step_size)


def read(scale: str, overrides: list[str], out: Path, seeds: list[int]) -> Settings:
    """Read a recipe, change what `a.b=value` names, keep a copy in the folder.

    The seeds are part of it: which task is best, and so what is compared with it,
    depends on all of them.

    Raises:
        SystemExit: If the folder holds results of other settings or seeds.
    """
    path = RECIPES / f"{scale}.yaml"
    settings: Settings = {**yaml.safe_load(path.read_text()), "seeds": seeds}
    for override in overrides:
        keys, _, value = override.partition("=")
        *outer, last = keys.split(".")
        place = settings
        for key in outer:
            place = place[key]
        if last not in place:
            raise SystemExit(f"--set {override}: {path.name} has no {keys}")
        place[last] = yaml.safe_load(value)
    kept = out / "settings.json"
    if kept.exists() and json.loads(kept.read_text()) != settings:
        raise SystemExit(
            f"{out} holds results of other settings or seeds; choose another --out"
        )
    write(kept, settings)
    return settings


def write(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1))
    part.replace(path)
