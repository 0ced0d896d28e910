from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest
import pytorch_lightning as pl
import torch

from lightly_adv import lightning
from lightly_adv.cli import scripts
from lightly_adv.cli.scripts import ScriptError

SCRIPT = """
import sys
from besides import VALUE
import pytorch_lightning as pl

reached = ["start", *sys.argv[1:]]
options = dict(accelerator="cpu", logger=False, enable_checkpointing=False)
try:
    pl.Trainer(max_epochs=3, **options).fit("a model", train_dataloaders="a loader")
except Exception:
    reached.append("caught")
reached.append("end")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "besides.py").write_text("VALUE = 3\n")
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_a_script_stops_where_it_would_train(script: Path) -> None:
    methods = pl.Trainer.__init__, pl.Trainer.fit
    main, argv, path = sys.modules["__main__"], sys.argv, list(sys.path)
    with scripts.run_to_fit(script, ["--epochs", "3"]) as run:
        assert run.module.reached == ["start", "--epochs", "3"]
        assert run.trainer is not None
        assert (run.model, run.data) == ("a model", "a loader")
        assert run.options["max_epochs"] == 3
        assert sys.modules["__main__"] is run.module
        # From here on Trainers train again.
        assert (pl.Trainer.__init__, pl.Trainer.fit) == methods
    assert sys.modules["__main__"] is main
    assert sys.argv is argv
    assert sys.path == path
    assert "besides" in sys.modules
    del sys.modules["besides"]


def test_a_data_module_counts_as_data(script: Path) -> None:
    script.write_text(SCRIPT.replace("train_dataloaders=", "datamodule="))
    with scripts.run_to_fit(script) as run:
        assert run.trainer is not None
        assert run.data == "a loader"


def test_files_that_do_not_train_end_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text("if __name__ == '__main__':\n    seen = 1\nNAME = __name__\n")
    with scripts.run_to_fit(path) as run:
        assert run.trainer is None
        assert run.module.seen == 1
    with scripts.run_to_fit(path, name="plain_file") as run:
        assert not hasattr(run.module, "seen")
        assert sys.modules["plain_file"] is run.module
    assert "plain_file" not in sys.modules


def test_errors_are_handed_on_with_their_cause(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("raise KeyError('nothing here')\n")
    with pytest.raises(ScriptError) as caught, scripts.run_to_fit(path):
        pass
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(FileNotFoundError, match="there is no file at"):
        scripts.run_to_fit(tmp_path / "nix.py").__enter__()


@pytest.mark.parametrize("namespace", lightning.NAMESPACES, ids=str)
def test_trainers_of_both_lightnings_are_stopped(
    script: Path, namespace: ModuleType
) -> None:
    name = f"import {namespace.__name__} as pl"
    script.write_text(SCRIPT.replace("import pytorch_lightning as pl", name))
    with scripts.run_to_fit(script) as run:
        assert run.trainer is not None
        assert isinstance(run.trainer, namespace.Trainer)


WRAPPED = """
import pytorch_lightning as pl

class Trainer(pl.Trainer):
    def __init__(self, *args, note="", **options):
        super().__init__(*args, logger=False, enable_checkpointing=False, **options)

    def fit(self, model, *args, **options):
        return super().fit(model, *args, **options)

def main():
    try:
        Trainer(note="mine", accelerator="cpu").fit("a model", "a loader")
    except:
        pass
    raise SystemExit(3)

if __name__ == "__main__":
    main()
"""


def test_subclasses_are_stopped_and_nothing_makes_up_for_it(script: Path) -> None:
    script.write_text(WRAPPED)
    with scripts.run_to_fit(script) as run:
        assert run.trainer is not None
        assert (run.model, run.data) == ("a model", "a loader")
        assert run.options["accelerator"] == "cpu"


def test_signatures_stay_for_those_who_make_options_of_them(script: Path) -> None:
    script.write_text(
        "import inspect, pytorch_lightning as pl\n"
        "made = set(inspect.signature(pl.Trainer).parameters)\n"
        "fitted = set(inspect.signature(pl.Trainer.fit).parameters)\n"
    )
    with scripts.run_to_fit(script) as run:
        assert run.module.made == set(inspect.signature(pl.Trainer).parameters)
        assert run.module.fitted == set(inspect.signature(pl.Trainer.fit).parameters)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_trainer_is_made_as_this_machine_can(script: Path) -> None:
    asked = 'accelerator="gpu", devices=[0, 1], strategy="deepspeed_stage_2"'
    script.write_text(SCRIPT.replace('accelerator="cpu"', asked))
    with scripts.run_to_fit(script) as run:
        assert run.trainer is not None
        assert run.options["devices"] == [0, 1]
        assert run.trainer.num_devices == 1


def test_options_that_no_trainer_has_are_errors_of_the_script(script: Path) -> None:
    script.write_text(SCRIPT.replace("max_epochs=3", "max_epoch=3"))
    with scripts.run_to_fit(script) as run:
        assert run.trainer is None
        assert run.module.reached[-2:] == ["caught", "end"]
