"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

# Tests run in several processes; threads on top of that only wait for each other.
torch.set_num_threads(1)

# Commands leave signals alone that are ignored, as they are behind nohup.
for name, handler in (("INT", signal.default_int_handler), ("HUP", signal.SIG_DFL)):
    number = getattr(signal, f"SIG{name}", None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

_BESIDE = Path(__file__).parents[1] / ".." / "shared" / "data" / "cifar10"


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """Folder with CIFAR-10 images, `train/<class>/` and `test/<class>/`."""
    root = Path(os.environ.get("LIGHTLY_ADV_CIFAR10", _BESIDE)).resolve()
    if not (root / "train").is_dir():
        pytest.skip(f"no images at {root}; set LIGHTLY_ADV_CIFAR10 to run this test")
    return root
