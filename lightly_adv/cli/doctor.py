r"""Examine a module before it is trained against attacks.

MODULE_OR_CONFIG is
  train.py              a script that trains: it is run up to Trainer.fit, and what it
                        gives to the Trainer is examined; options are its own
  model.py:Class        a LightningModule in a file
  package.module:Class  a LightningModule that can be imported
  config.yaml           a config of pretrain or finetune, or the folder of a run

For all but scripts the options are those of `lightly-adv pretrain` (of `finetune` for a
config of that), such as --data, --model.NAME for arguments of the module, and
--trainer.precision. Without --data a module by its name gets random images. The
attack is --attack, or that of the config or script, or else PGD with 8/255 and the
normalisation that fits the images. No training step is taken. The exit code is 1 if
something fails. LIGHTLY_ADV_TRACEBACK=1 also shows where exceptions come from.

With --backbone NAME --data FOLDER instead, the options are those of `lightly-adv
robustify`, and what that would do and take is said.

Examples:
  lightly-adv doctor examples/pytorch_lightning/simclr.py --batch-size 32
  lightly-adv doctor simclr.py:SimCLR --data.size 96 --data.views 2
  lightly-adv doctor simclr.py:SimCLR --data ImageFolderDataModule --data.root PATH \
    --attack PGD --attack.threat_model.eps 4/255
  lightly-adv doctor config.yaml --trainer.precision bf16-mixed
  lightly-adv doctor runs/pretrain
  lightly-adv doctor --backbone NAME --data FOLDER --eps 4/255
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from lightly_adv import lightning
from lightly_adv.attacks import AttackLike
from lightly_adv.callbacks import AdversarialTraining
from lightly_adv.cli import console, robustify, scripts
from lightly_adv.cli.evaluation import plain_parser
from lightly_adv.cli.finetune import FinetuneCLI, load_weights
from lightly_adv.cli.pretrain import PretrainCLI
from lightly_adv.cli.scripts import Run, ScriptError
from lightly_adv.cli.training import TrainingCLI
from lightly_adv.doctor import START, Diagnosis, diagnose
from lightly_adv.doctor.failures import failure
from lightly_adv.lightning import cli


class _Examined(TrainingCLI):
    """Makes module and data, but no Trainer and no folder."""

    def add_arguments_to_parser(self, parser: cli.LightningArgumentParser) -> None:
        """Add the attack."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--attack",
            type=AttackLike | None,
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
            raise ScriptError from error
        self.model, self.datamodule = found.model, found.data
        self.attack: Any = found.attack
        self.options = {
            name: value for name, value in found.trainer.items() if value is not None
        }
        if self.config.ckpt_path is not None:
            load_weights(self.model, Path(self.config.ckpt_path))

    def diagnosis(self) -> Diagnosis:
        """Examine the module."""
        return _diagnosis(self.model, self.datamodule, self.attack, self.options)


class _Pretraining(_Examined, PretrainCLI):
    """What `lightly-adv pretrain` would train."""


class _Finetuning(_Examined, FinetuneCLI):
    """What `lightly-adv finetune` would train."""


class _Module(_Pretraining):
    """A module by its name, on random images unless there are others."""

    defaults = (*PretrainCLI.defaults, "--data=lightly_adv.doctor.RandomImages")


def run(arguments: Sequence[str]) -> int:
    """Examine; return the exit code."""
    if any(each.split("=")[0] == "--backbone" for each in arguments):
        return robustify.run([*arguments, "--dry_run"])
    options, others = _parser().parse_known_args(arguments)
    try:
        diagnosis = _examined(options.target, others)
    except ScriptError as error:
        cause = error.__cause__ or error
        diagnosis = Diagnosis(options.target, [failure(START, cause)])
    console.say(str(diagnosis))
    if os.environ.get("LIGHTLY_ADV_TRACEBACK"):
        console.say("\n".join(["", *diagnosis.tracebacks]))
    return 0 if diagnosis.ok else 1


def _examined(target: str, others: Sequence[str]) -> Diagnosis:
    path = Path(target)
    if path.is_dir():
        path /= "config.yaml"
    if path.suffix in (".yaml", ".yml"):
        content = _content(path)
        kind = _Finetuning if _is_finetuning(content) else _Pretraining
        return kind(["--config", str(path), *others]).diagnosis()
    if path.suffix == ".py":
        return _in_script(path, others)
    place, _, name = target.partition(":")
    if place.endswith(".py"):
        return _in_file(Path(place), name, others)
    return _by_name(target.replace(":", "."), others)


def _in_script(path: Path, others: Sequence[str]) -> Diagnosis:
    """Examine what a script gives to its Trainer, or the only module that it has."""
    with scripts.run_to_fit(path, others) as script:
        if script.trainer is not None:
            return _of_trainer(script)
        if script.loop is not None:
            raise ValueError(
                f"{path} takes a step of an optimiser by itself, in line "
                f"{script.loop}, before any Trainer.fit. A training loop has no "
                "training_step to examine; give a LightningModule: FILE.py:CLASS."
            )
        return _by_name(f"__main__.{_only_class(script.module)}", others)


def _of_trainer(script: Run) -> Diagnosis:
    """Examine what a script would train; say what to do where Lightning refuses it."""
    if lightning.namespace_of(script.model) is not None:
        try:
            lightning.check_same_namespace(script.trainer, script.model)
        except TypeError as error:
            raise ScriptError from error
    return _diagnosis(script.model, script.data, None, script.options)


def _in_file(path: Path, class_name: str, others: Sequence[str]) -> Diagnosis:
    """Examine a class in a file."""
    name = re.sub(r"\W", "_", path.stem)
    with scripts.run_to_fit(path, name=name) as script:
        class_name = class_name or _only_class(script.module)
        return _by_name(f"{name}.{class_name}", others)


def _by_name(name: str, others: Sequence[str]) -> Diagnosis:
    """Examine a class that the parser can import."""
    return _Module(["--model", name, *others]).diagnosis()


def _content(path: Path) -> dict[str, Any]:
    """Read a config."""
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected a config of pretrain "
            "or finetune, which --print_config writes."
        )
    return content


def _diagnosis(
    model: Any, data: Any, attack: Any, options: dict[str, Any]
) -> Diagnosis:
    """Examine with the attack, or else with that of the callback in the options."""
    options = dict(options)
    listed = options.pop("callbacks", None)
    callbacks = listed if isinstance(listed, list) else [listed]
    own = (each for each in callbacks if isinstance(each, AdversarialTraining))
    return diagnose(model, data, attack or next(own, None), **options)


def _is_finetuning(content: dict[str, Any]) -> bool:
    """Tell configs apart: pretrain names the class of its model, finetune has one."""
    model = content.get("model")
    named = isinstance(model, str) or (
        isinstance(model, dict) and not {"class_path", "init_args"}.isdisjoint(model)
    )
    return "evaluation" in content or (model is not None and not named)


def _only_class(module: ModuleType) -> str:
    """Return the name of the LightningModule that a file defines.

    Raises:
        ValueError: If it does not define exactly one.
    """
    found = [
        name
        for name, each in vars(module).items()
        if inspect.isclass(each)
        and issubclass(each, lightning.kinds("LightningModule"))
        and each.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ValueError(
            f"{module.__file__} defines {len(found)} LightningModules "
            f"({', '.join(found) or 'none'}); say which one: FILE.py:CLASS."
        )
    return found[0]


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("doctor", __doc__)
    parser.usage = "lightly-adv doctor MODULE_OR_CONFIG [options]"
    parser.add_argument("target", metavar="MODULE_OR_CONFIG", help="see above")
    return parser
