"""Versions of the packages that a result depends on."""

from __future__ import annotations

import importlib.metadata
import platform

import lightly_adv

PACKAGES = ("lightly-adv", "lightly", "pytorch-lightning", "timm", "torch")
"""Distributions whose versions are written into reports and runs."""


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of `PACKAGES`; None where not installed."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    if name == "lightly-adv":  # also of a copy that is not installed, or beside one
        return lightly_adv.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
