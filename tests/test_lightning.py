from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from lightly_adv import AdversarialTraining, lightning
from lightly_adv.callbacks import RobustValidation, Throughput
from lightly_adv.callbacks.epoch_lines import EpochLines
from lightly_adv.methods import PretextModule
from tests.lightning_run import train

both = pytest.mark.skipif(
    len(lightning.NAMESPACES) < 2, reason="needs pytorch_lightning and lightning"
)


@both
@pytest.mark.parametrize(
    "kind", [AdversarialTraining, EpochLines, RobustValidation, Throughput]
)
def test_a_callback_is_one_of_both(kind: type) -> None:
    assert [name for name in lightning.NAMES if _is_callback(kind, name)] == list(
        lightning.NAMES
    )


def _is_callback(kind: type, name: str) -> bool:
    return issubclass(kind, sys.modules[name].Callback)


@both
def test_training_is_the_same_in_both_and_with_each_alone() -> None:
    here = {train(name) for name in lightning.NAMES}
    alone = {
        _alone("pytorch_lightning", "lightning"),
        _alone("lightning.pytorch", "pytorch_lightning", "lightning_fabric"),
    }
    assert len(here | alone) == 1


def _alone(namespace: str, *hidden: str) -> str:
    """Train in a process that cannot import some packages."""
    command = [sys.executable, "-m", "tests.lightning_run", namespace, *hidden]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    values = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert values["loaded"] == "none"
    return values["weights"]


@both
def test_a_namespace_is_told_from_trainers_modules_and_classes() -> None:
    first, second = lightning.NAMESPACES
    assert lightning.namespace_of(PretextModule) is first
    assert lightning.namespace_of(second.LightningDataModule()) is second
    assert lightning.namespace_of(_trainer(second)) is second
    assert lightning.namespace_of(object()) is None


def _trainer(namespace: ModuleType) -> object:
    options = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    return namespace.Trainer(**options)


@both
def test_a_module_of_ours_says_which_trainer_it_takes() -> None:
    module = PretextModule("rotation", backbone="resnet8_tiny")
    trainer = _trainer(lightning.NAMESPACES[1])
    with pytest.raises(TypeError, match=r"PretextModule is of pytorch_lightning"):
        lightning.check_same_namespace(trainer, module)
    lightning.check_same_namespace(_trainer(lightning.NAMESPACES[0]), module)


def test_importing_leaves_the_logger_of_what_was_imported_before() -> None:
    code = (
        "import lightning.pytorch, lightning_utilities.core.rank_zero as rank_zero\n"
        "before = rank_zero.log.name\n"
        "import lightly_adv\n"
        "print(before, rank_zero.log.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if "No module named 'lightning'" in done.stderr:
        pytest.skip("needs lightning")
    before, after = done.stdout.split()
    assert before == after == "lightning.pytorch.utilities.rank_zero"


def test_unknown_parts_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lightning.nothing  # type: ignore[attr-defined] # noqa: B018
