from __future__ import annotations

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy

from lightly_adv import AdversarialTraining
from lightly_adv.doctor import Probe
from lightly_adv.doctor.attack_choice import AttackChoice
from lightly_adv.doctor.checks.data import device
from tests import zoo
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


def probe(**options: object) -> Probe:
    module, training = healthy.Healthy(), AdversarialTraining(healthy.ATTACK)
    return Probe(module, AttackChoice(training), options=dict(options))


def test_it_has_nothing_to_say_where_all_is_there() -> None:
    assert list(device(probe(accelerator="cpu", devices=2))) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_options_are_shown_as_they_were_given() -> None:
    given = probe(accelerator="gpu", strategy=DDPStrategy(), plugins=None)
    (found,) = device(given)
    assert found.status == "WARN"
    assert "Trainer(accelerator='gpu', strategy=DDPStrategy)" in found.message
    assert "on the machine that trains" in found.remedy


def test_views_are_told_by_their_shapes() -> None:
    drawn = [torch.rand(4, 3, size, size) for size in (12, 12, 8)]
    diagnosis = examine(zoo.Base(), (drawn[:2], drawn[2]))
    assert told(diagnosis, "data").startswith(
        "the batch has views 0, 1 of 4 x 3 x 12 x 12; view 2 of 4 x 3 x 8 x 8."
    )


def test_bytes_are_refused() -> None:
    images, labels = healthy.batch()
    diagnosis = examine(Healthy(), [(images * 255).byte(), labels])
    assert blamed(diagnosis) == {"data": "FAIL"}
    assert "dtype torch.uint8" in told(diagnosis, "data")
    assert {"images", "training step", "cost"} <= set(diagnosis.skipped)


def test_views_that_are_not_there_are_told() -> None:
    callback = AdversarialTraining(healthy.ATTACK, views=[2])
    diagnosis = examine(zoo.Base(), zoo.batches(steps=1), callback)
    assert "views=[2] does not fit a batch with 2 image views" in told(
        diagnosis, "data"
    )
    assert {"images", "training step", "cost"} <= set(diagnosis.skipped)
