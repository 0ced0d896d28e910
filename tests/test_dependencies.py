"""Imports point one way, and only where the design allows them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lightly_adv

ROOT = Path(lightly_adv.__file__).parent

# Each part may import those in its set, and itself.
FILES_OF_OTHERS = {"json_files", "markdown", "versions"}
CORE = {"types", "errors", "files", "registry", "functional", "isolation", "processes"}
ATTACKS = CORE | {"threat_model", "attacks", "batch_norm"}
TRAINING = ATTACKS | {"training"}
# The loss that attacks needs what the callback has.
MODELS = CORE | FILES_OF_OTHERS | {"batch_norm", "loss", "models"}
PRETEXT = MODELS | {"pretext"}
EVALUATION = ATTACKS | PRETEXT | {"evaluation"}
CALLBACKS = TRAINING | EVALUATION | {"callbacks"}
ALLOWED = {
    "types": set[str](),
    "errors": set[str](),
    "files": set[str](),
    "registry": {"functional"},
    "json_files": set[str](),
    "markdown": set[str](),
    "processes": set[str](),
    "versions": set[str](),
    "functional": {"types"},
    "isolation": {"types"},
    "lightning": set(),
    "transforms": {"functional"},
    "threat_model": CORE,
    "attacks": ATTACKS,
    "batch_norm": set[str](),
    "training": TRAINING,
    "callbacks": CALLBACKS,
    "loss": TRAINING | {"loss"},
    "models": MODELS,
    "pretext": PRETEXT,
    "evaluation": EVALUATION,
    "audit": {"evaluation", "audit"},
    # A linear probe ends in an evaluation.
    "methods": CALLBACKS | {"methods"},
    "data": {"types", "functional", "isolation", "transforms", "data"},
    "doctor": CALLBACKS | {"doctor"},
    "testing": ATTACKS,
}
LIGHTNING = {"callbacks", "methods", "data", "doctor", "cli"}
LIGHTLY = {"loss", "training", "models", "batch_norm", "pretext", "methods"} | {
    "data",
    "cli",
}


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def own(path: Path) -> set[str]:
    names = {each for each in imports(path) if each.startswith("lightly_adv.")}
    return {each.split(".")[1] for each in names} - {"__version__"}


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_point_one_way(path: Path) -> None:
    name = part(path)
    if name in ("__init__", "cli"):
        assert "tests" not in imports(path)
        return
    lightning = {"lightning"} if name in LIGHTNING else set()
    assert own(path) <= ALLOWED[name] | {name} | lightning


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_frameworks_stay_where_they_belong(path: Path) -> None:
    roots = {each.split(".")[0] for each in imports(path)}
    if part(path) != "lightning":
        assert not roots & {"lightning", "lightning_fabric", "pytorch_lightning"}
    if part(path) not in LIGHTLY:
        assert "lightly" not in roots
