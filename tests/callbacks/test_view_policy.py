from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
from torch import Tensor

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.attacks import AttackSchedule
from tests import zoo

IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)
ATTACK = PGD(ThreatModel(eps=0.05), steps=2)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("create", zoo.ZOO)
def test_at_eps_zero_independent_attacks_change_nothing(
    create: Callable[[], pl.LightningModule],
) -> None:
    plain = zoo.state(*zoo.fit(create, []))
    callback = AdversarialTraining(IDENTITY, independent=True)
    assert plain.changes(zoo.state(*zoo.fit(create, [callback]))) == []


@pytest.mark.parametrize("independent", [False, True])
def test_each_view_has_its_own_attack(independent: bool, monkeypatch: Any) -> None:
    seen: list[int] = []
    call = PGD.perturb_views

    def spy(self: PGD, objective: Any, views: Any, **kwargs: Any) -> list[Tensor]:
        seen.append(len(views))
        return call(self, objective, views, **kwargs)

    monkeypatch.setattr(PGD, "perturb_views", spy)
    zoo.fit(zoo.Base, [AdversarialTraining(ATTACK, independent=independent)])
    assert seen == ([1, 1] if independent else [2]) * 2 * zoo.STEPS


def test_views_without_gradient_stay_clean_when_attacked_alone() -> None:
    class Recording(zoo.Momentum):
        keys: list[Tensor]

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.keys = [*getattr(self, "keys", []), batch[0][1]]
            return super().training_step(batch, batch_idx)

    callback = AdversarialTraining(ATTACK, independent=True)
    module, _ = zoo.fit(Recording, [callback], max_epochs=1)
    assert isinstance(module, Recording)
    for key, batch in zip(module.keys, zoo.batches(), strict=True):
        assert key.equal(batch[0][1])


@pytest.mark.parametrize(
    ("arguments", "forward", "backward", "ratio"),
    [
        ({}, 36, 36, "2.3"),
        ({"mode": "dual"}, 48, 48, "3.3"),
        ({"views": [0]}, 36, 24, "2.0"),
        ({"views": lambda batch: batch[0][:1]}, 36, 24, "2.0"),
        ({"independent": True}, 60, 36, "3.0"),
        ({"attack": AttackSchedule(ATTACK)}, 36, 36, "2.3"),
    ],
)
def test_the_cost_is_said_once_before_training(
    arguments: dict[str, Any],
    forward: int,
    backward: int,
    ratio: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[int] = []

    class Counting(zoo.Base):
        def forward(self, images: Tensor) -> Tensor:
            heard.append(len(messages(caplog)))
            return super().forward(images)

    callback = AdversarialTraining(**{"attack": ATTACK, **arguments})
    with caplog.at_level(logging.INFO):
        zoo.fit(Counting, [callback])
    (message,) = messages(caplog)
    assert f"one step = {forward} forward + {backward} backward image" in message
    assert f"about {ratio} times clean training" in message
    # One evaluation, of two views, tells which of them receive a gradient.
    assert heard[:2] == [0, 0]
    assert set(heard[2:]) == {1}


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if "adversarial training: one" in text]
