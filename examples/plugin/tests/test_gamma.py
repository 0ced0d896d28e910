"""The gamma task asks what it says, repeatably, and can be learnt and attacked."""

from __future__ import annotations

import pytest
import torch
from lightly_adv_example import GammaTask
from torch import Generator, nn

from lightly_adv import PGD, ThreatModel


def images() -> torch.Tensor:
    """Return images with pixels from 0 to 1."""
    return torch.rand(16, 3, 8, 8, generator=Generator().manual_seed(0))


def tiny(gammas: tuple[float, ...] = (0.4, 0.75, 1.35, 2.5)) -> GammaTask:
    """Return the task on a small convolution."""
    torch.manual_seed(0)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *pool)
    return GammaTask(backbone, gammas=gammas)


def test_inputs_are_the_images_under_the_curves() -> None:
    """Class k is the k-th exponent, and pixels stay in [0, 1]."""
    task = tiny(gammas=(0.5, 2.0))
    inputs, targets = task.draw(images())
    for given, found, target in zip(images(), inputs, targets, strict=True):
        expected = given.square() if target == 1 else given.sqrt()
        torch.testing.assert_close(found, expected)
    assert set(targets.tolist()) == {0, 1}
    assert torch.equal(task.restore(inputs, targets), inputs)


def test_a_generator_is_all_that_is_drawn_from() -> None:
    """The same seed asks the same question; the global stream stays where it is."""
    task, before = tiny(), torch.get_rng_state()
    first, second = (task.draw(images(), Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(before, torch.get_rng_state())


def test_it_is_learnt() -> None:
    """A few steps are enough on two curves that are far apart."""
    task = tiny(gammas=(0.25, 4.0))
    optimizer = torch.optim.Adam(task.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(task.loss(*task.draw(images())))
        optimizer.step()
    inputs, targets = task.draw(images())
    assert task.accuracy(task(inputs), targets) == 100


def test_an_attack_raises_its_loss() -> None:
    """The attack sees the very question that was drawn."""
    task = tiny()
    inputs, targets = task.draw(images())
    attack = PGD(ThreatModel(eps=8 / 255), steps=3)
    found = attack(lambda views: task.loss(views[0], targets), [inputs])[0]
    assert task.loss(found, targets) > task.loss(inputs, targets)


@pytest.mark.parametrize("gammas", [(1.0,), (1.0, 0.0), (1.0, -2.0)])
def test_exponents_that_cannot_be_meant(gammas: tuple[float, ...]) -> None:
    """Fewer than two ask nothing; without a positive one pixels leave [0, 1]."""
    with pytest.raises(ValueError, match="at least two positive exponents"):
        tiny(gammas=gammas)
