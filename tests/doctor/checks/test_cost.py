from __future__ import annotations

import re
import time
from typing import Any

from lightly_adv.doctor import CHECKS
from tests import zoo
from tests.doctor.healthy import Healthy, examine, told

ONE = {"cost": CHECKS["cost"]}


class Slow(Healthy):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        time.sleep(0.05)
        return super().training_step(batch, batch_idx)


def test_passes_are_counted_and_time_is_measured() -> None:
    text = told(examine(Slow(), checks=ONE), "cost")
    # 8 pictures; 3 evaluations and the step itself.
    assert text.startswith("one step = 32 forward + 32 backward picture passes")
    found = re.search(r"cpu: ([\d.]+) ms without the attack, ([\d.]+) s with it", text)
    assert found is not None
    clean, attacked = float(found[1]) / 1000, float(found[2])
    assert clean >= 0.05
    assert attacked >= 0.2


def test_epochs_are_estimated() -> None:
    text = told(examine(zoo.Base(), zoo.batches(steps=3), checks=ONE), "cost")
    assert text.endswith("for an epoch of 3 steps. -> ")
