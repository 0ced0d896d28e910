from __future__ import annotations

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy

from lightly_adv import AdversarialTraining
from lightly_adv.doctor import Patient
from lightly_adv.doctor.checks.device import device
from tests.doctor import healthy


def patient(**options: object) -> Patient:
    module, training = healthy.Healthy(), AdversarialTraining(healthy.ATTACK)
    return Patient(module, training, options=dict(options))


def test_it_has_nothing_to_say_where_all_is_there() -> None:
    assert list(device(patient(accelerator="cpu", devices=2))) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_options_are_shown_as_they_were_given() -> None:
    given = patient(accelerator="gpu", strategy=DDPStrategy(), plugins=None)
    (found,) = device(given)
    assert found.status == "WARN"
    assert "Trainer(accelerator='gpu', strategy=DDPStrategy)" in found.message
    assert "on the machine that trains" in found.remedy
