"""The plain PyTorch examples, on tiny data."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.examples import watching

EPOCHS = {name: 2 if name in ("moco", "byol", "dino") else 1 for name in watching.VIEWS}
"""Moving averages stand still in the last epoch, so these methods take two."""

SWAPPED = ("simclr", "vicreg")
"""Examples with `AdversarialLoss`, whose attack sees the module in eval mode."""


def test_there_is_an_example_of_each_method() -> None:
    found = {path.stem for path in (watching.EXAMPLES / "pytorch").glob("*.py")}
    assert found == set(watching.VIEWS)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("name", watching.VIEWS)
def test_example(
    name: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = watching.EXAMPLES / "pytorch" / f"{name}.py"
    epochs = EPOCHS[name]
    run = watching.run(path, images, monkeypatch, epochs=epochs)
    run.check(name, epochs=epochs)
    printed = re.findall(r"epoch: \d\d, loss: (\S+)", capsys.readouterr().out)
    assert len(printed) == epochs
    for call, loss in zip(run.calls, map(float, printed), strict=True):
        assert math.isfinite(loss)
        # There is one batch per epoch: what was attacked is what is trained on.
        if name not in SWAPPED:
            assert loss == pytest.approx(call.after, rel=1e-4, abs=1e-4)
    _check_state(name, run.names)


def _check_state(name: str, names: dict[str, Any]) -> None:
    """What is to advance once per batch has done so."""
    model, criterion = names["model"], names["criterion"]
    batches = EPOCHS[name]
    if name == "moco":
        assert int(criterion.memory_bank.bank_ptr) == batches * watching.IMAGES
    if name == "dino":
        assert criterion.center.abs().max() > 0
    if name != "mae":
        norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
        assert norm.num_batches_tracked == batches * watching.VIEWS[name]
