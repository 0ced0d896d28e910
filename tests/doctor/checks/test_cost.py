from __future__ import annotations

import re
import time
from typing import Any

from lightly_adv.doctor.checks.cost import cost
from tests import zoo
from tests.doctor.healthy import Healthy, examine, told

ONE = [cost]


UNITS = {"ms": 1000, "s": 1}


class Slow(Healthy):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        time.sleep(0.05)
        return super().training_step(batch, batch_idx)


def test_passes_are_counted_and_time_is_measured() -> None:
    text = told(examine(Slow(), checks=ONE), "cost")
    # 8 images; 3 evaluations and the step itself.
    assert text.startswith("one step = 32 forward + 32 backward image passes")
    found = re.findall(r"([\d.]+) (ms|s) with", text)
    clean, attacked = (float(each) / UNITS[unit] for each, unit in found)
    # Each of the four sleeps.
    assert clean >= 0.05
    assert attacked >= 0.2


def test_epochs_are_estimated() -> None:
    text = told(examine(zoo.Base(), zoo.batches(steps=3), checks=ONE), "cost")
    assert text.endswith("for an epoch of 3 steps. -> ")
