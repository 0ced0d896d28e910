"""The notebooks are what the scripts give, and they run."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.examples import watching

NOTEBOOKS = watching.EXAMPLES / "notebooks"
CREATE = runpy.run_path(str(NOTEBOOKS / "create_notebooks.py"))


def code(path: Path) -> list[str]:
    """Return the source of each code cell."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def test_each_script_has_a_notebook_and_no_other_is_there() -> None:
    names = {script.stem for script in CREATE["scripts"]()}
    assert names == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert len(names) == len(watching.VIEWS)


@pytest.mark.parametrize("script", CREATE["scripts"](), ids=lambda script: script.stem)
def test_a_notebook_is_what_its_script_gives(script: Path) -> None:
    path = NOTEBOOKS / f"{script.stem}.ipynb"
    assert path.read_text() == CREATE["notebook"](script), "run: make notebooks"


def test_notebooks_are_valid() -> None:
    nbformat = pytest.importorskip("nbformat")
    for path in NOTEBOOKS.glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=4))


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_runs_cell_by_cell(
    images: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a kernel, whose own options the script does not know.
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    options = ["--data", str(images), "--epochs", "1"]
    options += ["--batch-size", str(watching.IMAGES)]
    _, given, *rest = code(NOTEBOOKS / "rotation_pretraining.ipynb")
    assert "argv[1:] = []" in given
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in (given.replace("[]", repr(options)), *rest):
        exec(compile(cell, "cell", "exec"), names)
    assert names["trainer"].global_step == 1
