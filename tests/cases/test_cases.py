"""Scripts that stand for situations of users; each says in its last line what is wrong.

Adding a case is adding a file to this folder, `project_*.py` or `report_*.py`.
"""

from __future__ import annotations

import logging
import random
import runpy
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lightly_adv import lightning

FOLDER = Path(__file__).parent
CASES = sorted([*FOLDER.glob("project_*.py"), *FOLDER.glob("report_*.py")])


def exit_code(script: Path) -> object:
    """Run a script as `python SCRIPT` does, but in this process."""
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture(autouse=True)
def restored_levels() -> Iterator[None]:
    """Scripts silence Lightning; other tests want to hear it."""
    loggers = [logging.getLogger(name) for name in lightning.LOGGERS]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_case(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = random.getstate(), np.random.get_state()
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.resetwarnings()  # the scripts are not held to what our tests are
        code = exit_code(case)
    random.setstate(states[0])
    np.random.set_state(states[1])
    said = capsys.readouterr().out.strip().splitlines() or ["nothing"]
    assert code == 0, said[-1]
