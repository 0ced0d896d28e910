from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest

from lightly_adv import __version__
from lightly_adv.versions import PACKAGES, versions


def test_a_copy_without_metadata_tells_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    assert None not in versions().values()
    monkeypatch.setattr(importlib.metadata, "version", missing)
    told = versions()
    assert told.pop("lightly-adv") == __version__
    assert told.pop("python")
    assert told == {name: None for name in PACKAGES if name != "lightly-adv"}
