"""The argument parser of the training commands."""

from __future__ import annotations

import argparse
import contextlib
import functools
import operator
import re
from collections.abc import Sequence
from typing import Any, get_args

from jsonargparse import DefaultHelpFormatter, set_loader, set_parsing_settings

from lightly_adv import lightning
from lightly_adv.attacks import Attack
from lightly_adv.cli import attack_names, fractions
from lightly_adv.lightning import cli

PARSER_MODE = "yaml_with_fractions"
"""Name under which jsonargparse knows our YAML."""

NAMES_MODE = "yaml_with_names"
"""The same, with names of attacks in place of their classes."""

SHOWN = {
    "max_epochs": "Number of epochs.",
    "accelerator": "Where to compute: auto, cpu, gpu, mps, tpu.",
    "devices": "How many devices, or which ones.",
    "precision": "Number format: 32-true, bf16-mixed, 16-mixed.",
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
    """Keeps line breaks before and after the options, and leaves out long lists."""

    def _expand_help(self, action: argparse.Action) -> str:
        return re.sub(
            r"[,;]? known subclasses: [^)]*", "", super()._expand_help(action)
        )


class Parser(cli.LightningArgumentParser):
    """Takes fractions, shows a help that can be read, and says errors in one line.

    Args:
        **options: As for `jsonargparse.ArgumentParser`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        # Dataclasses are closed by default, but PGD stands where an Attack does.
        set_parsing_settings(
            subclasses_enabled=[Attack],
            # A config of others builds what an option is for, and nothing where any
            # value will do: `class_path: subprocess.Popen` stays a dictionary there.
            instantiate_subclass_spec_in_any=False,
        )
        set_loader(PARSER_MODE, fractions.load_yaml)
        set_loader(NAMES_MODE, attack_names.load_yaml)
        options |= {"parser_mode": PARSER_MODE, "formatter_class": _Formatter}
        super().__init__(*args, **options)

    def add_lightning_class_args(self, *args: Any, **options: Any) -> list[str]:
        """Add the options of a class; numbers that may be whole are tried as such.

        Python keeps one order for a set of types, the first that any package used, so
        that Lightning's `int | float` may be read as `float | int`. One batch would
        then mean all of them, the share 1.0.
        """
        added = self._add_class(*args, **options)
        for action in self._actions:
            kinds = get_args(getattr(action, "_typehint", None))
            if int in kinds and float in kinds:
                ordered = sorted(kinds, key=lambda kind: kind is not int)
                vars(action)["_typehint"] = functools.reduce(operator.or_, ordered)
        return added

    def _add_class(self, *args: Any, **options: Any) -> list[str]:
        """Add the options of a class; where any subclass will do, of either Lightning.

        The doctor takes both. Training checks which one it got.
        """
        if not options.get("subclass_mode") or len(lightning.NAMESPACES) == 1:
            added: list[str] = super().add_lightning_class_args(*args, **options)
            return added
        kind, key = args
        kinds = lightning.kinds(kind.__name__)
        return self.add_subclass_arguments(kinds, key, fail_untyped=False)  # type: ignore[no-any-return]

    def parse_with_names(self, arguments: Sequence[str]) -> Any:
        """Parse; where that fails, once more with names of attacks as their classes.

        In this order, because `attack` may be a plain string in a module of one's own.
        """
        with contextlib.suppress(ValueError):
            return self.parse_args(arguments)
        self.parser_mode = NAMES_MODE
        try:
            return self.parse_args(attack_names.in_arguments(arguments))
        finally:
            self.parser_mode = PARSER_MODE

    def format_help(self, *args: Any, **options: Any) -> str:
        """Leave most options of the Trainer out; they work all the same."""
        before = [(action, action.help) for action in self._actions]
        for name, group in (self.groups or {}).items():
            group.title = TITLES.get(name, group.title)
        for action, _ in before:
            group_name, _, name = action.dest.partition(".")
            if group_name == "trainer" and name:
                action.help = SHOWN.get(name, argparse.SUPPRESS)
        try:
            text: str = super().format_help(*args, **options)
        finally:
            # What is suppressed would be missing from config.yaml, too.
            for action, help_text in before:
                action.help = help_text
        return text

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise the error with the part of its message that helps."""
        raise ValueError(message) from ex


def summary(message: str) -> str:
    r"""Return what is wrong, in one line, from a message of jsonargparse.

    Where a value may be of several types, the message says for each of them why it is
    not, as a tree. The deepest line comes from the type that was meant; the keys on the
    way to it name the option. Other messages come back as they are.

    Examples:
        >>> summary("Parser key \"a\":\n  Errors:\n    - Expected a <class 'int'>")
        '--a: Expected a int'
    """
    message = _LINK.sub("", message)
    keys: list[tuple[int, str]] = []
    depth, found = -1, message.strip()
    for line in message.splitlines():
        text = line.strip().removeprefix("- ")
        indent = len(line) - len(line.lstrip(" -"))
        key = _KEY.match(text)
        if key:
            keys = [*(each for each in keys if each[0] < indent), (indent, key[1])]
            text = text[key.end() :].strip()
        if text and indent > depth and not _EMPTY.match(text):
            option = ".".join(name for above, name in keys if above <= indent)
            depth, found = indent, f"--{option}: {text}" if option else text
    return attack_names.explain(_CLASS.sub(r"\1", found).replace("typing.", ""))


_LINK = re.compile("Call to compute_fn of link .* failed: ", re.DOTALL)
_KEY = re.compile(r"""Parser key ["']([\w.]+)["']:""")
_CLASS = re.compile(r"<class '([\w.]+)'>")
_EMPTY = re.compile(
    "Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|Does not validate|"
    "Problem with given class_path|Subclasses are disabled"
)
