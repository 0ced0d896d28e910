"""The same numbers in every run."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed what tests draw; a pixel may lie beside the threshold of solarisation."""
    torch.manual_seed(0)
