from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import pytorch_lightning as pl

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
        assert run.call is not None
        assert (run.call.model, run.call.data) == ("a model", "a loader")
        assert run.call.options["max_epochs"] == 3
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
        assert run.call is not None
        assert run.call.data == "a loader"


def test_files_that_do_not_train_end_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text("if __name__ == '__main__':\n    seen = 1\nNAME = __name__\n")
    with scripts.run_to_fit(path) as run:
        assert run.call is None
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


def test_the_other_lightning_is_stopped_as_well(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trainer:
        def fit(self, model: object) -> None:
            raise AssertionError("it trains")

    package, inner = ModuleType("lightning"), ModuleType("lightning.pytorch")
    inner.Trainer = Trainer  # type: ignore[attr-defined]
    package.pytorch = inner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", package)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", inner)
    script.write_text("import lightning.pytorch as pl\npl.Trainer().fit('a model')\n")
    with scripts.run_to_fit(script) as run:
        assert run.call is not None
        assert run.call.model == "a model"
