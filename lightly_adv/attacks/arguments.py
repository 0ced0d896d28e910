"""Arguments of attacks: what is refused, and how it is put."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightly_adv.functional import validation
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Views


def check_views(views: Views) -> None:
    """Refuse what is no list of tensors."""
    if not isinstance(views, Sequence):
        raise TypeError(
            f"views is a {type(views).__name__}; expected a tensor of shape "
            "(B, ..., C, H, W), or a list of such tensors."
        )
    if not views:
        raise ValueError("views is empty; expected at least one tensor to perturb.")
    for view in views:
        if not isinstance(view, Tensor):
            raise TypeError(f"a view is a {type(view).__name__}; expected a tensor.")


def check_count(name: str, value: Any) -> None:
    """Refuse what is no number of steps or runs."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} is not an integer.")
    if value < 1:
        raise ValueError(f"{name}={value} is too small; expected at least 1.")


def step_size(value: Any, threat_model: ThreatModel) -> float | None:
    """Return the length of a step as a number, or None."""
    if value is None:
        return None
    length = validation.as_number("step_size", value)
    if threat_model.norm == "Linf":
        validation.check_length(
            "step_size", length, threat_model.bounds, what="is longer"
        )
    return length


def start_std(value: Any, *, random_start: bool) -> float | None:
    """Return the spread of the noise to start from as a number, or None."""
    if value is None:
        return None
    std = validation.as_number("start_std", value, positive=True)
    if not random_start:
        raise ValueError(
            f"start_std={std:g} came with random_start=False; pass random_start=True "
            "to start from that noise, or leave start_std out."
        )
    return std
