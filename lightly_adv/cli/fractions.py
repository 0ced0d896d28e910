"""Numbers such as 8/255, in YAML and on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import yaml

_FRACTION = re.compile(r"-?\d+(\.\d+)?/\d+(\.\d+)?")


def number(text: str) -> float:
    """Return the number in a text such as "8/255", "0.03" or "1e-3".

    Raises:
        ValueError: If it is not a number.

    Examples:
        >>> number("8/255") == 8 / 255
        True
    """
    try:
        if _FRACTION.fullmatch(text):
            above, below = text.split("/")
            return float(Fraction(above) / Fraction(below))
        return float(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"{text!r} is not a number; expected one such as 8/255 or 0.03."
        ) from error


def in_arguments(arguments: Sequence[str]) -> list[str]:
    """Replace the values of a command line that are fractions by decimal numbers.

    A path of this form has to be written as ./8/255.

    Examples:
        >>> in_arguments(["--eps", "1/4", "--other=1/2", "--name=a/b"])
        ['--eps', '0.25', '--other=0.5', '--name=a/b']
    """
    return [_in_argument(each) for each in arguments]


def load_yaml(text: str) -> Any:
    """Load YAML in which a value such as 8/255 is a number.

    Examples:
        >>> load_yaml("attack: {eps: 1/4, name: a/b}")
        {'attack': {'eps': 0.25, 'name': 'a/b'}}
    """
    return mapped(yaml.safe_load(text), lambda value, key: _as_number(value))


def mapped(value: Any, change: Callable[[Any, str], Any], key: str = "") -> Any:
    """Change the values in nested lists and dictionaries.

    Args:
        value: What YAML holds.
        change: Takes a value and the key under which it is found.
        key: That of the value.

    Examples:
        >>> mapped({"a": [1, 2]}, lambda value, key: f"{key}{value}")
        {'a': ['a1', 'a2']}
    """
    if isinstance(value, dict):
        return {name: mapped(each, change, str(name)) for name, each in value.items()}
    if isinstance(value, list):
        return [mapped(each, change, key) for each in value]
    return change(value, key)


def _in_argument(argument: str) -> str:
    name, separator, value = argument.rpartition("=")
    if not _FRACTION.fullmatch(value):
        return argument
    return f"{name}{separator}{number(value)!r}"


def _as_number(value: Any) -> Any:
    is_fraction = isinstance(value, str) and _FRACTION.fullmatch(value)
    return number(value) if is_fraction else value
