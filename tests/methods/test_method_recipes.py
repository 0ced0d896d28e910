"""The recipes of published methods are complete: all is made that a GPU would train."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightly_adv.cli.pretrain import PretrainCLI
from lightly_adv.methods.augmentation_strength import schedule_of

RECIPES = sorted(
    (Path(__file__).parents[2] / "examples" / "recipes" / "methods").glob("*.yaml")
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes(path: Path, tmp_path: Path) -> None:
    cpu = "--trainer.accelerator=cpu"
    made = PretrainCLI([f"--config={path}", cpu, f"--out={tmp_path / 'run'}"])
    assert type(made.model).__name__.lower() == path.stem.split("_")[0]
    attack = made.model.attack
    assert (attack.threat_model.eps, attack.step_size) in {
        (8 / 255, 2 / 255),
        (0.0314, 0.007),
    }
    assert made.trainer.max_epochs in (100, 1000)
    schedule = made.datamodule.transform.schedule
    if schedule is not None:
        assert schedule == schedule_of(made.trainer, made.model.period)
