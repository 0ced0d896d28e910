from __future__ import annotations

import torch
from lightly.loss import NTXentLoss

from lightly_adv.functional.contrastive import nt_xent
from lightly_adv.methods import RoCL
from tests.methods.published import METHODS, with_fixed_noise

METHOD = next(each for each in METHODS if each.name == "rocl")


def test_the_loss_is_that_of_the_formula() -> None:
    module = METHOD.create(temperature=0.4, weight=0.25)
    made = with_fixed_noise(module)
    first, second = METHOD.batch()
    found = module.training_step([first, second], 0)

    z = module(torch.cat([first, second, *made]))
    z = z / z.norm(dim=1, keepdim=True)
    exponentials = (z @ z.T / 0.4).exp().fill_diagonal_(0)
    shares = exponentials / exponentials.sum(1, keepdim=True)
    batch = len(first)
    same = torch.eye(batch).repeat(3, 3) - torch.eye(3 * batch)
    expected = -(shares.log().nan_to_num(neginf=0) * same).sum() / (3 * batch)
    pair = NTXentLoss(temperature=0.4)(z[batch : 2 * batch], z[2 * batch :])
    torch.testing.assert_close(found, expected + 0.25 * pair)


def test_the_head_has_no_batch_norm() -> None:
    layers = [
        type(layer).__name__ for layer in RoCL("resnet8_tiny").projection_head.layers
    ]
    assert layers == ["Linear", "ReLU", "Linear"]


def test_gradients_through_keys_are_a_choice() -> None:
    gradients: list[torch.Tensor] = []
    for detach_keys in (True, False):
        module = METHOD.create(detach_keys=detach_keys)
        torch.manual_seed(0)
        first, second = (torch.randn(4, 8, requires_grad=True) for _ in range(2))
        loss = module.contrast(first, second)
        gradients += torch.autograd.grad(loss, [first, second])
        expected = nt_xent(first, second, detach_keys=detach_keys)
        wanted = torch.autograd.grad(expected, [first, second])
        assert all(map(torch.allclose, gradients[-2:], wanted))
    assert not torch.allclose(gradients[0], gradients[2])


def test_the_attack_meets_the_second_view_as_it_is_in_training() -> None:
    """What is computed once for all steps is what each step would compute."""
    batch = METHOD.batch()
    for bn_mode in ("eval", "batch"):
        module = METHOD.create(bn_mode=bn_mode)
        with module.attack_mode():
            once = module(batch[1])
        seen = []

        def loss(x: torch.Tensor) -> torch.Tensor:
            seen.append(module(batch[1]).detach())  # noqa: B023
            found: torch.Tensor = module(x).square().sum()  # noqa: B023
            return found

        module.perturb(loss, batch[0])
        assert torch.equal(seen[0], once)
