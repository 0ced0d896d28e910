"""The Lightning examples, on one process and on several, on tiny data."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from tests.examples import watching

FOLDERS = ("pytorch_lightning", "pytorch_lightning_distributed")

WITHOUT_GRADIENT = {
    # Taken away after the backward pass, for the first epoch.
    "dino": {"student_head.last_layer.weight_v"},
    # The script looks for unused parameters.
    "mae": {"backbone.mask_token"},
}


def script(folder: str, name: str) -> Path:
    """Return the path of an example; one rotation.py is a whole experiment."""
    if (folder, name) == ("pytorch_lightning", "rotation"):
        name = "rotation_pretraining"
    return watching.EXAMPLES / folder / f"{name}.py"


@pytest.mark.parametrize("folder", FOLDERS)
def test_there_is_an_example_of_each_method(folder: str) -> None:
    found = set((watching.EXAMPLES / folder).glob("*.py"))
    found.discard(watching.EXAMPLES / "pytorch_lightning" / "rotation.py")
    assert found == {script(folder, name) for name in watching.VIEWS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", watching.VIEWS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_example(
    folder: str,
    name: str,
    images: Path,
    alone: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = watching.run(script(folder, name), images, monkeypatch, epochs=1)
    run.check(name, epochs=1)
    trainer, model = run.names["trainer"], run.names["model"]
    assert trainer.global_step == 1
    assert trainer.callback_metrics["train_loss"].isfinite()
    # DDP refuses parameters without gradient, but only when the second step begins.
    unused = {name for name, each in model.named_parameters() if not used(each)}
    assert unused == WITHOUT_GRADIENT.get(name, set())


def used(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None or not parameter.requires_grad
