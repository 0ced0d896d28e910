from __future__ import annotations

import torch
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.training import perturb
from lightly_adv.types import Views

ATTACK = PGD(ThreatModel(eps=0.1), steps=2)


def test_the_module_is_as_it_was_and_seen_without_dropout() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(), nn.BatchNorm2d(2).eval()
    )
    module[0].weight.requires_grad_(False)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    flags: list[list[bool]] = []
    required: set[bool] = set()

    def objective(views: Views) -> Tensor:
        flags.append([part.training for part in module])
        required.update(each.requires_grad for each in module.parameters())
        loss: Tensor = module(views[0]).square().mean()
        return loss

    inputs = torch.rand(4, 3, 2, 2)
    before = inputs.clone()
    (found,) = perturb.perturb_views(
        ATTACK, objective, [inputs], module=module, generator=torch.Generator()
    )
    assert flags == ATTACK.steps * [[True, True, False, False]]
    assert required == {False}
    assert [each.training for each in module] == [True, True, True, False]
    after = [each.requires_grad for each in module.parameters()]
    assert after == [False, *[True] * 5]
    assert all(
        torch.equal(state[key], value) for key, value in module.state_dict().items()
    )
    assert torch.equal(inputs, before)
    assert not torch.equal(found, inputs)
    assert not found.requires_grad
    assert all(each.grad is None for each in module.parameters())
