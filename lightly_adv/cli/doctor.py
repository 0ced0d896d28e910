"""`lightly-adv doctor`."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import pytorch_lightning as pl
import yaml
from pytorch_lightning.cli import LightningArgumentParser

from lightly_adv.attacks import Attack, AttackSchedule
from lightly_adv.callbacks import AdversarialTraining
from lightly_adv.cli import console
from lightly_adv.cli.finetune import FinetuneCLI, load_weights
from lightly_adv.cli.pretrain import PretrainCLI
from lightly_adv.cli.training import TrainingCLI
from lightly_adv.doctor import START, Diagnosis, diagnose
from lightly_adv.doctor.failures import failure

EXAMPLES = """\
MODULE_OR_CONFIG is
  a config of pretrain or finetune, or the folder of a run    config.yaml, runs/pretrain
  a LightningModule in an installed package                   package.module:Class
  a LightningModule in a file, which is imported              path/to/file.py:Class

The options are those of `lightly-adv pretrain` (of `finetune` for a config of that),
such as --data, --model.NAME for arguments of the module, and --trainer.precision.
Without --data a module by its name gets random pictures. The attack is --attack, or
that of the config, or else PGD with 8/255 and the normalisation that fits the pictures.
No training step is taken, nothing is written. The exit code is 1 if something fails.

examples:
  lightly-adv doctor config.yaml
  lightly-adv doctor runs/pretrain --trainer.precision bf16-mixed
  lightly-adv doctor simclr.py:SimCLR --data.size 96 --data.views 2
  lightly-adv doctor simclr.py:SimCLR --data ImageFolderDataModule --data.root PATH \\
    --attack PGD --attack.threat_model.eps 4/255

LIGHTLY_ADV_TRACEBACK=1 also shows where exceptions come from.
"""


class _UnmadeError(Exception):
    """The module or its data cannot be made; the cause says why."""


class _Examined(TrainingCLI):
    """Makes module and data, but no Trainer and no folder."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the attack."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--attack",
            type=Attack | AttackSchedule | None,
            default=None,
            help="The attack to examine with.",
        )

    def before_instantiate_classes(self) -> None:
        """Look at folders of finished runs, too."""

    def instantiate_classes(self) -> None:
        """Keep the options of the Trainer for the examination."""
        try:
            found = self.parser.instantiate_classes(self.config)
        except Exception as error:
            raise _UnmadeError from _unwrapped(error)
        self.model, self.datamodule = found.model, found.data
        self.attack: Any = found.attack
        self.options = {
            name: value for name, value in found.trainer.items() if value is not None
        }
        if self.config.ckpt_path is not None:
            load_weights(self.model, Path(self.config.ckpt_path))

    def diagnosis(self) -> Diagnosis:
        """Examine the module."""
        listed = self.options.pop("callbacks", [])
        callbacks = listed if isinstance(listed, list) else [listed]
        own = (each for each in callbacks if isinstance(each, AdversarialTraining))
        attack = self.attack or next(own, None)
        return diagnose(self.model, self.datamodule, attack, **self.options)


class _Pretraining(_Examined, PretrainCLI):
    """What `lightly-adv pretrain` would train."""


class _Finetuning(_Examined, FinetuneCLI):
    """What `lightly-adv finetune` would train."""


class _Module(_Pretraining):
    """A module by its name, on random pictures unless there are others."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Choose random pictures."""
        super().add_arguments_to_parser(parser)
        parser.set_defaults(
            {"data": {"class_path": "lightly_adv.doctor.RandomPictures"}}
        )


_Kind: TypeAlias = type[_Pretraining] | type[_Finetuning]
"""Whose options a target takes."""


def run(arguments: Sequence[str]) -> int:
    """Examine; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    try:
        kind, chosen = _chosen(options.target)
        diagnosis = kind([*chosen, *others]).diagnosis()
    except _UnmadeError as error:
        cause = error.__cause__ or error
        diagnosis = Diagnosis(options.target, [failure(START, cause)])
    console.say(str(diagnosis))
    if os.environ.get("LIGHTLY_ADV_TRACEBACK"):
        console.say("\n".join(["", *diagnosis.tracebacks]))
    return 0 if diagnosis.ok else 1


def _chosen(target: str) -> tuple[_Kind, list[str]]:
    """Return whose options the target takes, and those that it stands for."""
    path = Path(target)
    if path.is_dir():
        path /= "config.yaml"
    if path.suffix in (".yaml", ".yml"):
        content = yaml.safe_load(path.read_text()) or {}
        kind = _Finetuning if _is_finetuning(content) else _Pretraining
        return kind, ["--config", str(path)]
    place, _, name = target.partition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else None
    if module is None:
        return _Module, ["--model", target.replace(":", ".")]
    return _Module, ["--model", f"{module.__name__}.{name or _only_class(module)}"]


def _is_finetuning(content: dict[str, Any]) -> bool:
    """Tell configs apart: pretrain names the class of its model, finetune has one."""
    model = content.get("model")
    named = isinstance(model, str) or (
        isinstance(model, dict) and not {"class_path", "init_args"}.isdisjoint(model)
    )
    return "evaluation" in content or (model is not None and not named)


def _from_file(path: Path) -> ModuleType:
    """Import a file; what lies beside it can be imported by it, as in a script.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file at {path}.")
    name = re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The parser finds the class by this name.
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _UnmadeError from error
    return module


def _unwrapped(error: BaseException) -> BaseException:
    """Return the error that the parser met, where it made another one of it."""
    while error.__cause__ is not None:
        frames = traceback.extract_tb(error.__traceback__)
        if "jsonargparse" not in frames[-1].filename:
            break
        error = error.__cause__
    return error


def _only_class(module: ModuleType) -> str:
    """Return the name of the LightningModule that a file defines.

    Raises:
        ValueError: If it does not define exactly one.
    """
    found = [
        name
        for name, each in vars(module).items()
        if inspect.isclass(each)
        and issubclass(each, pl.LightningModule)
        and each.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ValueError(
            f"{module.__file__} defines {len(found)} LightningModules "
            f"({', '.join(found) or 'none'}); say which one: FILE.py:CLASS."
        )
    return found[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightly-adv doctor",
        usage="lightly-adv doctor MODULE_OR_CONFIG [options]",
        description="Examine a module before it is trained against attacks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("target", metavar="MODULE_OR_CONFIG", help="see below")
    return parser
