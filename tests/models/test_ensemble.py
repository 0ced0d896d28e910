from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.isolation import leaks
from lightly_adv.methods import RobustClassifier
from lightly_adv.models import Ensemble

HALVES: Any = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def linear(seed: int, classes: int = 5) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, classes))


def sample_images(count: int = 6, size: int = 4) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_it_is_the_logarithm_of_the_mean_probability(count: int) -> None:
    members = [linear(seed) for seed in range(count)]
    images = sample_images()
    found = Ensemble(members)(images)
    for row, image in enumerate(images):
        answers = []
        for member in members:
            logits = member(image[None])[0].tolist()
            total = sum(math.exp(each) for each in logits)
            answers.append([math.exp(each) / total for each in logits])
        means = [sum(column) / count for column in zip(*answers, strict=True)]
        expected = [math.log(mean) for mean in means]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-5)


def test_certain_members_do_not_overflow() -> None:
    first, second = torch.tensor([[2e4, 0.0]]), torch.tensor([[0.0, 2e4]])

    class Always(nn.Module):
        def __init__(self, logits: Tensor) -> None:
            super().__init__()
            self.logits = logits

        def forward(self, images: Tensor) -> Tensor:
            return self.logits

    found = Ensemble([Always(first), Always(second)])(sample_images(1))
    assert found.exp()[0].tolist() == pytest.approx([0.5, 0.5])
    found = Ensemble([Always(first), Always(first)])(sample_images(1))
    assert found[0].tolist() == pytest.approx([0.0, -2e4])


def test_its_gradient_is_that_of_minus_log_mean_probability() -> None:
    members = [linear(seed).double() for seed in range(3)]
    labels = torch.tensor([1, 0])
    images = sample_images(2).double().requires_grad_()
    loss = nn.functional.cross_entropy(Ensemble(members)(images), labels)
    (found,) = torch.autograd.grad(loss, images)
    mean = sum(member(images).softmax(1) for member in members) / 3
    assert isinstance(mean, Tensor)
    picked = mean[torch.arange(2), labels]
    (expected,) = torch.autograd.grad(-picked.log().mean(), images)
    torch.testing.assert_close(found, expected)


def members_of_all_kinds() -> list[nn.Module]:
    """Three backbones, three normalisations, one with dual BatchNorm."""
    torch.manual_seed(0)
    return [
        RobustClassifier("resnet8_tiny", num_classes=4, channels_last=True),
        RobustClassifier("test_resnet", num_classes=4, normalize=HALVES),
        RobustClassifier(
            convert_dual_batchnorm(timm.create_model("resnet10t", num_classes=0)),
            num_classes=4,
            normalize=None,
        ),
    ]


def test_members_of_different_kinds_are_attacked_as_one() -> None:
    ensemble = Ensemble(members_of_all_kinds())
    assert ensemble.num_classes == 4
    images = sample_images(4, size=32)
    loader = [(images, ensemble.eval()(images).argmax(1))]
    before = leaks.snapshot(ensemble)
    threat_model = ThreatModel(eps=32 / 255)
    found = evaluate_robustness(ensemble, loader, threat_model, suite="smoke")
    assert found.clean_accuracy == 100
    assert found.robust_accuracy < 100
    assert not before.changes(leaks.snapshot(ensemble))


def test_the_attack_moves_every_member() -> None:
    """What is found lowers the mean, not the answer of one member only."""
    members = [linear(seed) for seed in range(3)]
    images, ensemble = sample_images(), Ensemble(members)
    labels = ensemble(images).argmax(1)
    attack = PGD(ThreatModel(eps=0.1), steps=3, random_start=False)
    (found,) = attack(
        lambda views: nn.functional.cross_entropy(
            ensemble(views[0]), labels, reduction="none"
        ),
        [images],
    )

    def mean(views: Tensor) -> Tensor:
        answers = torch.stack([member(views).softmax(1) for member in members])
        return answers.mean(0).gather(1, labels[:, None])

    assert (mean(found) < mean(images)).all()


def test_it_moves_and_saves_like_a_module() -> None:
    ensemble, other = (Ensemble([linear(s), linear(s + 1)]) for s in (0, 5))
    assert len(list(ensemble.parameters())) == 4
    other.load_state_dict(ensemble.state_dict())
    assert torch.equal(other(sample_images()), ensemble(sample_images()))


def test_members_of_different_classes_are_refused_at_once() -> None:
    members = [RobustClassifier("resnet8_tiny", num_classes=n) for n in (10, 100)]
    message = r"\(RobustClassifier 10, RobustClassifier 100\); expected classifiers of"
    with pytest.raises(ValueError, match=message):
        Ensemble(members)


def test_members_that_do_not_tell_are_refused_when_they_answer() -> None:
    ensemble = Ensemble([linear(0, classes=5), linear(1, classes=1)])
    assert ensemble.num_classes is None
    with pytest.raises(ValueError, match=r"\(Sequential 5, Sequential 1\)"):
        ensemble(sample_images())


def test_an_ensemble_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="members is empty; expected at least one"):
        Ensemble([])


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a member is a function; expected a torch"):
        Ensemble([lambda x: x])  # type: ignore[list-item]
