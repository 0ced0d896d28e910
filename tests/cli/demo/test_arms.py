"""One arm of the demo, made short."""

from __future__ import annotations

from typing import Any

import pytest

from lightly_adv.cli.demo import arms
from lightly_adv.cli.demo.arms import ADVERSARIAL, ARMS, Settings
from lightly_adv.evaluation import create_suite


@pytest.mark.slow
def test_an_arm_is_trained_and_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(name: str, **options: Any) -> Any:
        return create_suite("pgd", steps=1, max_samples=8)

    monkeypatch.setattr(arms, "create_suite", small)
    settings = Settings(labels=50, pretraining_epochs=1, epochs=2)
    result = arms.run_arm(ADVERSARIAL, 0, settings)
    row = result["row"]
    assert (row["name"], row["eps_text"]) == (ARMS[ADVERSARIAL], "32/255")
    assert len(row["val_robust_accuracy"]) == 2
    assert row["seconds"] > 0
    eps = [point["eps_text"] for point in result["curve"]]
    assert eps == ["0", "16/255", "32/255", "48/255", "64/255"]
    assert len(result["examples"]) == 8
