"""Registered names of attacks, where a command line asks for a class.

`--model.attack pgd` means `--model.attack lightly_adv.attacks.pgd.PGD`, and so do
`attack: pgd` and `class_path: pgd` in YAML. What parses as it is, such as `attack: str`
of a user's module, is left alone; see `Parser.parse_with_names`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from lightly_adv.attacks import (
    Attack,
    AttackSchedule,
    is_attack,
    list_attacks,
    load_attack,
)
from lightly_adv.cli import fractions

_OPTION = re.compile(r"--([\w.]*[._])?attack(\.class_path|\.help)?")


def class_path(name: str) -> str:
    """Return the import path behind the name of an attack; others come back as is.

    Raises:
        ImportError: If the plug-in behind the name fails to load.
        ValueError: If what is registered cannot be imported, such as a lambda.

    Examples:
        >>> class_path("fgsm"), class_path("my_package.MyAttack")
        ('lightly_adv.attacks.pgd.FGSM', 'my_package.MyAttack')
    """
    if not is_attack(name):
        return name
    factory = load_attack(name)
    module = getattr(factory, "__module__", "")
    attribute = getattr(factory, "__qualname__", "")
    if getattr(sys.modules.get(module), attribute, None) is not factory:
        raise ValueError(
            f"the attack {name!r} is registered as {factory!r}, which has no import "
            "path; the command line needs a class or function of a module."
        )
    return f"{module}.{attribute}"


def in_arguments(arguments: Sequence[str]) -> list[str]:
    """Replace names of attacks in a command line by import paths.

    Raises:
        ValueError: If a word is neither such a name nor that of a class.

    Examples:
        >>> in_arguments(["--model.attack", "fgsm", "--evaluation.suite", "pgd"])
        ['--model.attack', 'lightly_adv.attacks.pgd.FGSM', '--evaluation.suite', 'pgd']
    """
    found = list(arguments)
    for at, argument in enumerate(arguments):
        option, separator, value = argument.partition("=")
        if not _OPTION.fullmatch(option):
            continue
        if separator:
            found[at] = f"{option}={_checked(value)}"
        elif at + 1 < len(arguments):
            found[at + 1] = _checked(arguments[at + 1])
    return found


def load_yaml(text: str) -> Any:
    """Load YAML with fractions, and replace names of attacks by import paths.

    Examples:
        >>> load_yaml("{attack: fgsm, suite: pgd, eps: 1/4}")
        {'attack': 'lightly_adv.attacks.pgd.FGSM', 'suite': 'pgd', 'eps': 0.25}
    """
    return fractions.mapped(fractions.load_yaml(text), _as_class)


def _checked(name: str) -> str:
    """Return an import path as `class_path` does; refuse other words."""
    is_word = name.isidentifier() and name not in ("null", *_class_names())
    if is_word and not is_attack(name):
        raise ValueError(
            f"{name!r} is neither a registered attack ({', '.join(list_attacks())}) "
            "nor an import path (package.Class)."
        )
    return class_path(name)


def _class_names(kind: type[Any] = Attack) -> Iterator[str]:
    """Yield the names of attack classes, which need no import path."""
    yield from (kind.__name__, AttackSchedule.__name__)
    for subclass in kind.__subclasses__():
        yield from _class_names(subclass)


def _as_class(value: Any, key: str) -> Any:
    names_attack = key == "class_path" or key.endswith("attack")
    return class_path(value) if names_attack and isinstance(value, str) else value
