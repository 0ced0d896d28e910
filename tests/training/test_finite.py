from __future__ import annotations

import pytest
import torch

from lightly_adv import PGD, ThreatModel
from lightly_adv.errors import NotFiniteError
from lightly_adv.training.finite import FiniteObjective

VIEW = torch.rand(2, 3, 4, 4)


def test_what_is_finite_is_not_changed() -> None:
    def loss(views: list[torch.Tensor]) -> torch.Tensor:
        return views[0].square().mean()

    attack, finite = PGD(ThreatModel(eps=0.1), steps=3), FiniteObjective(loss)  # type: ignore[arg-type]
    plain, watched = (
        attack(each, [VIEW], generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        for each in (loss, finite)
    )
    assert torch.equal(plain[0], watched[0])
    finite.check()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("loss", "the objective is NaN"), ("gradient", "the gradient of the objective")],
)
def test_all_evaluations_are_made_and_the_failure_is_told(
    kind: str, message: str
) -> None:
    calls: list[int] = []

    def loss(views: list[torch.Tensor]) -> torch.Tensor:
        calls.append(1)
        odd = len(calls) == 2
        if kind == "loss":
            return views[0].sum() * (torch.inf if odd else 1)
        return views[0].sum() + (0 * views[0]).sqrt().sum() * odd

    finite = FiniteObjective(loss)  # type: ignore[arg-type]
    (found,) = PGD(ThreatModel(eps=0.1), steps=4)(finite, [VIEW])
    assert found.isfinite().all()
    assert len(calls) == 4
    with pytest.raises(NotFiniteError, match=message):
        finite.check()
    finite.check()
