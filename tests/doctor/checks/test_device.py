from __future__ import annotations

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy

from lightly_adv import AdversarialTraining
from lightly_adv.doctor import Probe
from lightly_adv.doctor.attack_choice import AttackChoice
from lightly_adv.doctor.checks.device import device
from tests.doctor import healthy


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
