from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from lightly_adv.doctor import diagnose
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Drifting(Healthy):
    """Draws from where nobody looks."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (1 + random.SystemRandom().random() / 100)


def test_a_loss_that_moves_by_itself() -> None:
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
