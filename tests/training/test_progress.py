from __future__ import annotations

from types import SimpleNamespace

import pytest

from lightly_adv.training.progress import share_done


@pytest.mark.parametrize(
    ("step", "total", "share"), [(0, 4, 0.0), (1, 4, 0.25), (5, 4, 1.0), (0, 0, 0.0)]
)
def test_share_of_training(step: int, total: int, share: float) -> None:
    trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=total)
    assert share_done(trainer) == share


@pytest.mark.parametrize("total", [-1, float("inf")])
def test_an_unknown_length_is_refused(total: float) -> None:
    trainer = SimpleNamespace(global_step=1, estimated_stepping_batches=total)
    with pytest.raises(ValueError, match=rf"not known \({total} steps.*max_steps"):
        share_done(trainer)
