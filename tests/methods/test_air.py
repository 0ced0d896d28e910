from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from lightly_adv.batch_norm.routes import bn_route
from lightly_adv.methods import AIR
from tests.methods.published import METHODS, with_fixed_noise

METHOD = next(each for each in METHODS if each.name == "air")


def shares(views: Tensor, partners: Tensor, temperature: float) -> Tensor:
    return F.softmax(F.cosine_similarity(views, partners) / temperature, dim=0)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_loss_is_that_of_the_formula(legacy: bool) -> None:
    weights: dict[str, Any] = {"standard_weight": 0.3, "adversarial_weight": 0.7}
    module = METHOD.create(temperature=0.4, legacy=legacy, **weights)
    made = with_fixed_noise(module)
    views = METHOD.batch()
    found = module.training_step(views, 0)

    with bn_route("clean"):
        (z_i, z_j), z_o = module(torch.cat(views[:2])).chunk(2), module(views[2])
    with bn_route("adv"):
        a_i, a_j = module(torch.cat(made)).chunk(2)
    p_i, p_j = shares(z_i, z_o, 0.4), shares(z_j, z_o, 0.4)
    q_i = shares(a_i, z_o, 0.4) * shares(a_i, z_i, 0.4)
    q_j = shares(a_j, z_o, 0.4) * shares(a_j, z_j, 0.4)
    if not legacy:  # what KL divergences take is a logarithm
        p_i, q_i = p_i.log(), q_i.log()
    contrast = NTXentLoss(temperature=0.4)
    expected = contrast(z_i, z_j) + contrast(a_i, a_j)
    for first, second, weight in ((p_i, p_j, 0.3), (q_i, q_j, 0.7)):
        expected = expected + weight * (second * (second.log() - first)).sum()
    torch.testing.assert_close(found, expected)


def test_the_public_code_trains_on_another_loss() -> None:
    losses = []
    for legacy in (False, True):
        module = METHOD.create(legacy=legacy)
        with_fixed_noise(module)
        losses.append(module.training_step(METHOD.batch(), 0).item())
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)


def test_a_backbone_without_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="no BatchNorm layer"):
        AIR(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))
