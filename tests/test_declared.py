"""Whatever is imported is declared in pyproject.toml, with a lowest version."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests import lowest

pytest.importorskip("tomllib")

ROOT = Path(__file__).parents[1]
OURS = {"lightly_adv", "lightly_adv_example", "tests"}
# Other packages are compared with in benchmarks, by those who have them.
COMPARED = {"foolbox", "torchattacks"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def packages(folder: str) -> dict[str, Path]:
    """Return the foreign packages that a folder imports, and where."""
    paths = list((ROOT / folder).rglob("*.py"))
    local = {path.stem for path in paths} | {path.parent.name for path in paths}
    known = sys.stdlib_module_names | OURS | COMPARED
    if folder != "lightly_adv":
        known = known | local  # scripts import the files beside them
    return {
        name: path for path in paths for name in imported(path) if name not in known
    }


@pytest.mark.parametrize(
    ("folder", "without"),
    [
        ("lightly_adv", ("dev", "docs", "test")),
        ("tests", ("dev", "docs")),
        ("docs", ("dev", "test")),
        ("examples", ()),
    ],
)
def test_imports_are_declared(folder: str, without: tuple[str, ...]) -> None:
    declared = lowest.lowest(lowest.requirements(without=without))
    distributions = metadata.packages_distributions()
    missing = {}
    for name, path in packages(folder).items():
        found = {lowest.normalised(each) for each in distributions.get(name, [name])}
        if not found & set(declared):
            missing[name] = path
    assert not missing
    assert "torch" in packages(folder)


def test_requirements_without_a_lowest_version_are_refused() -> None:
    assert lowest.lowest(["Scikit_Learn>=1.3", "lightly-adv[all]"]) == {
        "scikit-learn": "1.3"
    }
    with pytest.raises(ValueError, match="'torch' has no lowest version"):
        lowest.lowest(["torch"])
