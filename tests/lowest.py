"""The lowest versions that pyproject.toml allows, as constraints for pip.

`make test-oldest` installs what this prints when it is run as a script. It imports
nothing that has to be installed, and needs Python 3.11 or newer for `tomllib`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
TOOLS = ("dev", "docs")
"""Extras whose versions do not matter to those who use the package."""


def requirements(*, without: Iterable[str] = ()) -> Iterator[str]:
    """Yield the requirements of the package and of its extras."""
    project: Any = importlib.import_module("tomllib").loads(PYPROJECT.read_text())
    yield from project["project"]["dependencies"]
    for extra, needed in project["project"]["optional-dependencies"].items():
        if extra not in without:
            yield from needed


def lowest(needed: Iterable[str]) -> dict[str, str]:
    """Return the lowest version of each requirement, by normalised name."""
    versions = {}
    for requirement in needed:
        if requirement.startswith("lightly-adv["):  # an extra made of others
            continue
        match = re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(
                f"{requirement!r} has no lowest version; expected name>=version."
            )
        versions[normalised(match[1])] = match[2]
    return versions


def normalised(name: str) -> str:
    """Return the name of a distribution as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    for name, version in lowest(requirements(without=TOOLS)).items():
        print(f"{name}=={version}")  # noqa: T201
