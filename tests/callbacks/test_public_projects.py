"""What public projects do in and around a training step, under adversarial training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.functional import pixels
from lightly_adv.testing import assert_trains_the_same
from lightly_adv.testing.same_training import state_after
from tests import zoo
from tests.methods_zoo.mechanisms import MECHANISMS, STEPS, Mechanism

EPS = 8 / 255

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.name),
]


def adversarial(mechanism: Mechanism, eps: float, **options: Any) -> Any:
    threat_model = ThreatModel(eps=eps, normalize=mechanism.normalize)
    attack = PGD(threat_model, steps=2, step_size=eps / 2)
    return AdversarialTraining(attack, views=mechanism.views, **options)


def test_replace_at_eps_zero_is_the_same_run_bit_for_bit(mechanism: Mechanism) -> None:
    assert_trains_the_same(mechanism.fit, adversarial(mechanism, 0.0))


def test_dual_at_eps_zero_adds_gradients_and_nothing_else(mechanism: Mechanism) -> None:
    states, steps = [], []
    for extra in ([], [adversarial(mechanism, 0.0, mode="dual", weight=0.3)]):
        steps.append(zoo.SameSteps())
        states.append(state_after(mechanism.fit, [*extra, steps[-1]], seed=0))
    assert states[0].changes(states[1]) == []
    one, two = (each.gradients for each in steps)
    assert one.keys() == two.keys()
    largest = max(float(each.abs().max()) for each in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(
            two[name], gradient, rtol=0, atol=1e-5 * largest, msg=name
        )


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Tensor], Any]]:
    """The views of every attack, before and after it."""
    seen: list[tuple[list[Tensor], Any]] = []
    call = PGD.perturb_views

    def spy(self: PGD, objective: Any, views: Any, **kwargs: Any) -> list[Tensor]:
        found = call(self, objective, views, **kwargs)
        seen.append((list(views), found))
        return found

    monkeypatch.setattr(PGD, "perturb_views", spy)
    return seen


@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_views_move_inside_the_ball(
    mechanism: Mechanism, mode: str, attacked: list[tuple[list[Tensor], Any]]
) -> None:
    mechanism.fit([adversarial(mechanism, EPS, mode=mode)])
    assert len(attacked) == STEPS
    for views, found in attacked:
        pairs = zip(views, found, strict=True)
        assert any([moves(*pair, mechanism.normalize) for pair in pairs])


def moves(clean: Tensor, found: Tensor, normalize: Any) -> bool:
    """Whether a view moved; if so, that it moved inside the ball and the bounds."""
    before, after = (pixels.to_pixels(each, normalize) for each in (clean, found))
    assert (after - before).abs().max() <= EPS + 1e-6
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6
    return not torch.equal(clean, found)
