"""The argument parser of the training commands."""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import jsonargparse
from jsonargparse import DefaultHelpFormatter, set_loader, set_parsing_settings

from lightly_adv import lightning
from lightly_adv.attacks import Attack
from lightly_adv.cli import attack_names, fractions
from lightly_adv.lightning import cli, pl

PARSER_MODE = "yaml_with_fractions"
"""Name under which jsonargparse knows our YAML."""

NAMES_MODE = "yaml_with_names"
"""The same, with names of attacks instead of their classes."""

SHOWN = {
    "trainer.max_epochs": "Number of epochs.",
    "trainer.accelerator": "Where to compute: auto, cpu, gpu, mps, tpu.",
    "trainer.devices": "How many devices, or which ones.",
    "trainer.precision": "Number format: 32-true, bf16-mixed, 16-mixed.",
}
"""Options of the Trainer that --help shows; --print_config shows all of them."""

TITLES = {
    "trainer": "trainer (all other options of Lightning's Trainer work too)",
    "model": "model",
    "data": "data: DigitsDataModule, ImageFolderDataModule, TorchvisionDataModule, "
    "ImageNet32DataModule",
    "evaluation": "evaluation",
}
"""Headings of the groups of options."""


class _Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps line breaks before and after the options, and shortens these."""

    def add_argument(self, action: argparse.Action) -> None:
        """Leave out most options of the Trainer; they work all the same."""
        if action.dest in SHOWN:
            action = copy.copy(action)
            action.help = SHOWN[action.dest]
        if action.dest in SHOWN or not action.dest.startswith("trainer."):
            super().add_argument(action)


class Parser(cli.LightningArgumentParser):
    """Takes fractions, shows a short help, and raises errors of one line.

    Args:
        **options: As for `jsonargparse.ArgumentParser`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        # Dataclasses are closed by default, but PGD may stand where an Attack does.
        set_parsing_settings(
            subclasses_enabled=[Attack],
            # A config from others builds only what an option is for: where any value
            # will do, `class_path: subprocess.Popen` stays a dictionary.
            instantiate_subclass_spec_in_any=False,
        )
        set_loader(PARSER_MODE, fractions.load_yaml)
        set_loader(NAMES_MODE, attack_names.load_yaml)
        options |= {"parser_mode": PARSER_MODE, "formatter_class": _Formatter}
        options.setdefault("usage", "%(prog)s [options]")
        super().__init__(*args, **options)

    def add_class_arguments(
        self,
        class_type: Any,
        nested_key: str | None = None,
        *args: Any,
        **options: Any,
    ) -> list[str]:
        """Add the options of a class; for the Trainer, try whole numbers first.

        Python keeps one order for a set of types, the first that any package used, so
        that Lightning's `int | float` may be read as `float | int`. One batch would
        then become 1.0, which means all of them.
        """
        is_trainer = isinstance(class_type, type) and issubclass(class_type, pl.Trainer)
        numbers = _numbers(class_type) if is_trainer else {}
        if numbers:
            options["skip"] = {*(options.get("skip") or ()), *numbers}
        added = super().add_class_arguments(class_type, nested_key, *args, **options)
        for name, (default, ordered) in numbers.items():
            self.add_argument(f"--{nested_key}.{name}", type=ordered, default=default)
        return [*added, *(f"{nested_key}.{name}" for name in numbers)]

    def add_subclass_arguments(
        self, baseclass: Any, nested_key: str, *args: Any, **options: Any
    ) -> Any:
        """Add a class that may be any subclass, of either Lightning.

        The doctor takes both. Training checks which one it got.
        """
        if baseclass in (pl.LightningModule, pl.LightningDataModule):
            baseclass = lightning.kinds(baseclass.__name__)
        return super().add_subclass_arguments(baseclass, nested_key, *args, **options)

    def parse_with_names(self, arguments: Sequence[str]) -> Any:
        """Parse; where that fails, once more with names of attacks as their classes.

        In this order, because `attack` may be a plain string in a user's module.
        """
        with contextlib.suppress(ValueError):
            return self.parse_args(arguments)
        self.parser_mode = NAMES_MODE
        try:
            return self.parse_args(attack_names.in_arguments(arguments))
        finally:
            self.parser_mode = PARSER_MODE

    def instantiate_classes(self, *args: Any, **options: Any) -> Any:
        """Build the objects; raise what a class raised, as it raised it."""
        try:
            return super().instantiate_classes(*args, **options)
        except Exception as error:
            cause = _origin(error)
        raise cause

    def format_help(self, *args: Any, **options: Any) -> str:
        """Return the help, with headings of our own."""
        for name, group in (self.groups or {}).items():
            group.title = TITLES.get(name, group.title)
        text: str = super().format_help(*args, **options)
        return text

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise an error that names the option and the first cause, in one line."""
        option = next(iter(message.strip().splitlines()), "")
        reason = option if ex is None else str(_origin(ex))
        raise ValueError(option if reason in option else f"{option} {reason}") from ex


def _numbers(kind: type) -> Mapping[str, tuple[Any, Any]]:
    """Return default and type of the parameters that are whole or real numbers."""
    found = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        kinds = get_args(parameter.annotation)
        if int in kinds and float in kinds:
            ordered = sorted(kinds, key=lambda each: each is not int)
            found[name] = parameter.default, functools.reduce(operator.or_, ordered)
    return found


def _origin(error: BaseException) -> BaseException:
    """Return what jsonargparse caught and raised again with another message."""
    while error.__cause__ is not None and _raised_by(error) == jsonargparse.__name__:
        error = error.__cause__
    return error


def _raised_by(error: BaseException) -> str:
    """Return the package whose code raised an error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return name.partition(".")[0]
