"""MI-FGSM passes the table that every attack must, and is what the paper says."""

from __future__ import annotations

import pytest
import torch
from lightly_adv_example import MIFGSM
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.testing import EPS, NORMALIZE, AttackTester
from lightly_adv.types import Norm


@pytest.mark.parametrize("check", AttackTester.checks())
def test_it_does_what_every_attack_must(check: str) -> None:
    """Ball, range, dtypes, untouched inputs, and whatever else is in the table."""
    AttackTester(MIFGSM).run(check)


def problem() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network, images and labels."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 3))
    return network, torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_it_is_algorithm_1_of_the_paper(decay: float) -> None:
    """Written once more as the paper has it, on plain pixels, one image at a time."""
    network, images, labels = problem()
    eps, steps = 0.1, 5
    expected = []
    for at in range(len(images)):
        image, label = images[at : at + 1], labels[at : at + 1]
        x, g = image, torch.zeros_like(image)
        for _ in range(steps):
            x = x.detach().requires_grad_()
            loss = nn.functional.cross_entropy(network(x), label)
            (gradient,) = torch.autograd.grad(loss, x)
            g = decay * g + gradient / gradient.abs().sum()
            x = x + eps / steps * g.sign()
            x = x.clamp(image - eps, image + eps).clamp(0, 1)
        expected.append(x.detach())
    attack = MIFGSM(ThreatModel(eps=eps), steps=steps, decay=decay)
    found = attack(
        lambda views: nn.functional.cross_entropy(network(views[0]), labels), [images]
    )
    torch.testing.assert_close(found[0], torch.cat(expected))


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_normalised_views_change_nothing(norm: Norm) -> None:
    """The momentum is that of gradients in pixels, whatever the views look like."""
    network, images, labels = problem()
    mean, std = (torch.tensor(NORMALIZE[key])[:, None, None] for key in ("mean", "std"))
    eps = EPS[norm]

    def loss(pixels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(pixels), labels)

    plain = MIFGSM(ThreatModel(norm, eps), steps=4)
    usual = plain(lambda views: loss(views[0]), [images])[0]
    other = MIFGSM(ThreatModel(norm, eps, normalize=NORMALIZE), steps=4)
    given = [(images - mean) / std]
    normalised = other(lambda views: loss(views[0] * std + mean), given)[0]
    torch.testing.assert_close(normalised * std + mean, usual)


def test_without_momentum_it_is_iterated_fgsm() -> None:
    """With decay=0 only the last gradient counts, and its sign has no scale."""
    network, images, labels = problem()
    threat_model = ThreatModel(eps=0.1)
    iterated = PGD(threat_model, steps=4, step_size=0.025, random_start=False)
    found = [
        attack(
            lambda views: nn.functional.cross_entropy(network(views[0]), labels),
            [images],
        )[0]
        for attack in (
            iterated,
            MIFGSM(threat_model, steps=4, decay=0.0),
            MIFGSM(threat_model, steps=4),
        )
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("decay", [-0.1, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    """The message says what was seen."""
    with pytest.raises(ValueError, match=f"decay={decay} must be finite"):
        MIFGSM(ThreatModel(), decay=decay)
