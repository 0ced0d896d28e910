"""Pretext tasks by name, also those of other packages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from lightly_adv.pretext.task import PretextTask
from lightly_adv.registry import Registry

REGISTRY = Registry[PretextTask]("pretext task", "lightly_adv.pretext_tasks")
"""The pretext tasks by name."""


def build_task(
    task: str | Callable[..., PretextTask], name: str, options: Mapping[str, Any]
) -> PretextTask:
    """Make a pretext task, and say what it takes where the options do not fit.

    Args:
        task: The name of a registered task, or a class of tasks.
        name: What messages call it.
        options: Arguments for it.

    Raises:
        TypeError: If what is made is no `PretextTask`.
        ValueError: If the name is unknown, or if an option is.

    Examples:
        >>> task = build_task("jigsaw", "jigsaw", {"backbone": "resnet8_tiny"})
        >>> type(task).__name__
        'JigsawTask'
    """
    factory = REGISTRY.load(task) if isinstance(task, str) else task
    signature = inspect.signature(factory)
    try:
        signature.bind(**options)
    except TypeError as error:
        accepted = ", ".join(
            each for each in signature.parameters if each != "backbone"
        )
        given = {name: each for name, each in options.items() if name != "backbone"}
        raise ValueError(
            f"the options {given} do not fit the pretext task {name!r} "
            f"({error}); it takes {accepted or 'none'}."
        ) from error
    made = factory(**options)
    if not isinstance(made, PretextTask):
        raise TypeError(
            f"the pretext task {name!r} is a {type(made).__name__}; expected a "
            "subclass of lightly_adv.pretext.PretextTask."
        )
    return made
