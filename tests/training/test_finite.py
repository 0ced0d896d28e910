from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from lightly_adv import PGD, ThreatModel, processes
from lightly_adv.errors import NotFiniteError, OutOfRangeError
from lightly_adv.training import finite
from lightly_adv.types import Norm, Objective

VIEW = torch.rand(2, 3, 4, 4)
NORMS: tuple[Norm, ...] = ("Linf", "L2", "L1")


def to_the_end(
    objective: Objective, views: Sequence[Tensor], *, norm: Norm = "Linf"
) -> list[Tensor]:
    attack = PGD(ThreatModel(norm=norm, eps=0.1), steps=4)
    generator = torch.Generator().manual_seed(0)
    return finite.attack_to_the_end(
        lambda function, given: attack(function, given, generator=generator),
        objective,
        views,
        threat_model=attack.threat_model,
    )


def test_what_is_finite_is_not_changed() -> None:
    def loss(views: Sequence[Tensor]) -> Tensor:
        return views[0].square().mean()

    attack = PGD(ThreatModel(eps=0.1), steps=4)
    (plain,) = attack(loss, [VIEW], generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_the_end(loss, [VIEW])[0], plain)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("inf loss", "the objective is NaN or inf"),
        ("nan loss", "the objective is NaN or inf"),
        ("gradient", "the gradient of the objective is NaN"),
    ],
)
def test_all_evaluations_are_made_and_the_failure_is_told(
    kind: str, message: str, norm: Norm
) -> None:
    seen: list[Tensor] = []

    def loss(views: Sequence[Tensor]) -> Tensor:
        seen.append(views[0].detach())
        if len(seen) != 2:
            return views[0].square().sum()
        if kind == "gradient":
            return views[0].sum() + (0 * views[0]).sqrt().sum()
        return views[0].sum() * (torch.inf if kind == "inf loss" else torch.nan)

    with pytest.raises(NotFiniteError, match=message):
        to_the_end(loss, [VIEW], norm=norm)
    assert len(seen) == 4
    # Others would be shown them, where a loss gathers.
    assert all(each.isfinite().all() for each in seen)


def test_a_large_loss_in_double_precision_is_finite() -> None:
    view = VIEW.double()
    (found,) = to_the_end(lambda views: views[0].sum() * 1e39, [view])
    assert found.dtype == torch.float64
    assert not torch.equal(found, view)
    with pytest.raises(NotFiniteError):
        to_the_end(lambda views: views[0].sum() * 1e39, [VIEW])


def test_a_loss_is_judged_as_it_was_although_it_is_read_last() -> None:
    losses: list[Tensor] = []

    def loss(views: Sequence[Tensor]) -> Tensor:
        for old in losses:
            old.detach().zero_()  # as an average that is kept in place
        losses.append(views[0].sum() * (1.0 if losses else torch.inf))
        return losses[-1]

    with pytest.raises(NotFiniteError, match="the objective is NaN or inf"):
        to_the_end(loss, [VIEW])


@pytest.mark.parametrize(
    ("view", "error"), [(VIEW * 255, OutOfRangeError), (VIEW / 0, NotFiniteError)]
)
def test_what_is_no_image_is_not_shown_to_other_processes(
    view: Tensor, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def loss(views: Sequence[Tensor]) -> Tensor:
        seen.append(views[0].detach())
        return views[0].square().sum()

    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(error):
        to_the_end(loss, [view])
    assert len(seen) == 4
    assert all(each.min() >= 0 and each.max() <= 1 for each in seen)
    (found,) = to_the_end(loss, [VIEW])
    assert not torch.equal(found, VIEW)


def test_the_range_is_told_of_before_what_follows_from_it() -> None:
    def fails(views: Sequence[Tensor]) -> Tensor:
        raise RuntimeError("index out of range")

    with pytest.raises(OutOfRangeError, match=r"look like 0..255"):
        to_the_end(fails, [VIEW * 255])
    with pytest.raises(RuntimeError, match="index out of range"):
        to_the_end(fails, [VIEW])
