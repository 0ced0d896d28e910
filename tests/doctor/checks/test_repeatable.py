from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from lightly_adv.doctor import diagnose
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Drifting(Healthy):
    """Counts its evaluations where nobody looks."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        os.environ["DRIFT"] = str(float(os.environ["DRIFT"]) + 0.1)
        return super().training_step(batch, batch_idx) + float(os.environ["DRIFT"])


def test_a_loss_that_moves_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFT", "0")
    diagnosis = examine(Drifting())
    assert blamed(diagnosis) == {"repeatable": "WARN"}
    assert "it depends on something besides views" in told(diagnosis, "repeatable")


def test_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the seed is 0." in told(examine(Healthy()), "repeatable")
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    state = torch.get_rng_state()
    try:
        for seed, status in ((5, "PASS"), (1 << 60, "WARN")):
            torch.manual_seed(seed)
            diagnosis = diagnose(
                Healthy(), healthy.batch(), healthy.ATTACK, accelerator="cpu"
            )
            assert diagnosis.statuses["repeatable"] == status
        assert "Call pl.seed_everything(0) first" in told(diagnosis, "repeatable")
    finally:
        torch.set_rng_state(state)
