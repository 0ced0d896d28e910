"""Write the notebooks of this folder from the scripts in examples/pytorch_lightning.

    make notebooks

The scripts are what is edited. Each notebook begins with a cell for the options of the
script, because it has no command line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jupytext

EXAMPLES = Path(__file__).parents[1]
SCRIPTS = EXAMPLES / "pytorch_lightning"
NOTEBOOKS = Path(__file__).parent
EXPERIMENTS = ("rotation.py",)
"""Not flat scripts, so not of use as notebooks."""
OPTIONS = """\
import sys

# What would stand behind `python {name}`, such as ["--epochs", "1"].
sys.argv[1:] = []"""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def scripts() -> list[Path]:
    """Return the scripts that have a notebook."""
    return sorted(p for p in SCRIPTS.glob("*.py") if p.name not in EXPERIMENTS)


def notebook(script: Path) -> str:
    """Return the content of the notebook of a script, the same one every time."""
    header, text = script.read_text().split("\n", maxsplit=1)
    cells = [
        _code(header.replace("# pip", "# %pip", 1)),
        _code(OPTIONS.format(name=script.name)),
    ]
    for cell in jupytext.reads(text.lstrip(), fmt="py:light").cells:
        make = _code if cell.cell_type == "code" else _text
        cells.append(make(cell.source))
    # Counted, where nbformat would draw them.
    numbered = [{"id": str(at), **cell} for at, cell in enumerate(cells)]
    content = {
        "cells": numbered,
        "metadata": METADATA,
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _code(source: str) -> dict[str, Any]:
    outcome = {"execution_count": None, "outputs": []}
    return {**_text(source), **outcome, "cell_type": "code"}


def _text(source: str) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    return {"cell_type": "markdown", "metadata": {}, "source": lines}


def main() -> None:
    for script in scripts():
        path = NOTEBOOKS / f"{script.stem}.ipynb"
        path.write_text(notebook(script))
        print(path.relative_to(EXAMPLES))


if __name__ == "__main__":
    main()
