"""Each criterion against the loop and the sums of its paper, written out again."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv import FGSM, PGD, ThreatModel
from lightly_adv.attacks import Attack, AttackSchedule
from lightly_adv.batch_norm import convert_dual_batchnorm, routes
from lightly_adv.methods import (
    TRADES,
    AdversarialCriterion,
    CrossEntropy,
    KLRegularized,
    RobustClassifier,
    create_criterion,
    is_criterion,
    list_criteria,
)
from lightly_adv.methods.criteria import Pass
from lightly_adv.training import noise
from tests.methods.steps import batches, fit, small_network, softmax_by_hand

EPS, STEP = 16 / 255, 4 / 255
ATTACK = PGD(ThreatModel(eps=EPS), steps=3, step_size=STEP, start_std=0.001)

pytestmark = pytest.mark.filterwarnings("ignore")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(label), image by image."""
    return torch.stack(
        [-softmax_by_hand(logits)[at, label].log() for at, label in enumerate(labels)]
    ).mean()


def divergence(clean: Tensor, other: Tensor) -> Tensor:
    """Mean of sum p log(p / q), image by image and class by class."""
    total = torch.zeros(())
    for p, q in zip(softmax_by_hand(clean), softmax_by_hand(other), strict=True):
        for a, b in zip(p, q, strict=True):
            total = total + a * (a / b).log()
    return total / len(clean)


def plain_attack(network: nn.Module, images: Tensor, loss: Any) -> Tensor:
    """The loop of the papers: Gaussian start, sign steps, clip to ball and range."""
    generator = noise.training_generator(rank=0, epoch=0, batch_idx=0)
    start = 0.001 * torch.randn(images.shape, generator=generator)
    perturbed = (images + start).clamp(0, 1)
    for _ in range(ATTACK.steps):
        perturbed = perturbed.detach().requires_grad_()
        (grad,) = torch.autograd.grad(loss(network(perturbed)), perturbed)
        moved = perturbed.detach() + STEP * grad.sign()
        perturbed = (images + (moved - images).clamp(-EPS, EPS)).clamp(0, 1)
    return perturbed.detach()


class KeepsGradients(RobustClassifier):
    """Remembers the gradients of the last step."""

    def on_after_backward(self) -> None:
        self.grads = [parameter.grad.clone() for parameter in self.parameters()]  # type: ignore[union-attr]


ROWS = [
    ("cross_entropy", CrossEntropy(), "ce", 0.0, 1.0),
    ("kl_regularized", KLRegularized(), "ce", 1.0, 0.0),
    ("trades", TRADES(beta=1.0), "kl", 1.0, 0.0),
    ("trades", TRADES(), "kl", 6.0, 0.0),
]


@pytest.mark.parametrize(("name", "criterion", "attacked", "beta", "adversarial"), ROWS)
def test_one_step_is_that_of_the_paper(
    name: str,
    criterion: AdversarialCriterion,
    attacked: str,
    beta: float,
    adversarial: float,
) -> None:
    """The same loss, gradients and BatchNorm statistics as the step written out."""
    classifier = KeepsGradients(
        small_network(),
        num_classes=3,
        attack=ATTACK,
        criterion=criterion,
        normalize=None,
        lr=0.0,
    )
    network = nn.Sequential(
        copy.deepcopy(classifier.backbone), copy.deepcopy(classifier.head)
    )
    ((images, labels),) = batches(1)

    attacked_network = copy.deepcopy(network)
    target = attacked_network(images).detach()
    losses = {
        "ce": lambda logits: cross_entropy(logits, labels),
        "kl": lambda logits: divergence(target, logits),
    }
    perturbed = plain_attack(attacked_network, images, losses[attacked])
    if adversarial:
        expected = cross_entropy(network(perturbed), labels)
    else:
        clean = network(images)
        expected = cross_entropy(clean, labels) + beta * divergence(
            clean, network(perturbed)
        )
    grads = torch.autograd.grad(expected, list(network.parameters()))

    logged = fit(classifier, count=1).callback_metrics
    assert float(logged["train_loss"]) == pytest.approx(expected.item(), abs=1e-5)
    assert ("train_top1" in logged) == (not adversarial)
    assert "train_robust_top1" in logged
    for seen, grad in zip(classifier.grads, grads, strict=True):
        torch.testing.assert_close(seen, grad, atol=1e-5, rtol=1e-3)
    norm = classifier.backbone.get_submodule("1")
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(
            norm.get_buffer(buffer), network[0].get_submodule("1").get_buffer(buffer)
        )


def test_the_clean_answer_is_given_once_per_attack_and_once_per_step() -> None:
    calls: list[tuple[bool, bool]] = []

    class Counting(RobustClassifier):
        def forward(self, images: Tensor) -> Tensor:
            found = super().forward(images)
            calls.append((self.head.weight.requires_grad, found.requires_grad))
            return found

    module = Counting(small_network(), num_classes=3, attack=ATTACK, criterion="trades")
    fit(module, count=1, limit_val_batches=0)
    target, steps, training = calls[0], calls[1 : 1 + ATTACK.steps], calls[-2:]
    assert len(calls) == 1 + ATTACK.steps + 2
    assert target == (True, False)
    assert steps == [(False, True)] * ATTACK.steps
    assert training == [(True, True)] * 2


def test_cross_entropy_asks_for_no_clean_answer() -> None:
    def clean() -> Tensor:
        raise AssertionError("the clean images were passed")

    labels = torch.tensor([0, 1])
    criterion = CrossEntropy()
    assert criterion.attacked_loss(clean, labels)(torch.zeros(2, 3)).shape == (2,)
    loss = criterion.training_loss(clean, lambda: torch.zeros(2, 3), labels)
    assert loss.item() == pytest.approx(1.0986, abs=1e-4)


def test_the_divergence_has_no_gradient_without_noise() -> None:
    """Why an attack on it has to start beside the image."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    loss = TRADES().attacked_loss(lambda: model(images), torch.tensor([0, 1]))

    def slope(std: float) -> float:
        noise = std * torch.randn(images.shape, dtype=images.dtype)
        at = (images + noise).requires_grad_()
        (grad,) = torch.autograd.grad(loss(model(at)).sum(), at)
        return float(grad.abs().max())

    assert slope(0.0) < 1e-15 < 1e-7 < slope(0.001)


@pytest.mark.parametrize(
    ("criterion", "trainable", "channels_last"),
    [
        (TRADES(), "head", True),
        (TRADES(), "last_stage", False),
        (TRADES(), "all", True),
        (KLRegularized(), "head", False),
        (KLRegularized(), "all", False),
    ],
)
def test_it_trains_whatever_is_trainable(
    criterion: AdversarialCriterion, trainable: Any, channels_last: bool
) -> None:
    torch.manual_seed(0)
    module = RobustClassifier(
        "resnet8_tiny",
        num_classes=3,
        trainable=trainable,
        attack=ATTACK,
        criterion=criterion,
        channels_last=channels_last,
    )
    frozen = {
        name
        for name, parameter in module.named_parameters()
        if not parameter.requires_grad
    }
    before = copy.deepcopy(module.state_dict())
    fit(module, count=1)
    after = module.state_dict()
    still = {key for key in before if torch.equal(before[key], after[key])}
    assert frozen <= still
    assert not still & (set(dict(module.named_parameters())) - frozen)
    assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize(
    ("criterion", "clean", "adv"),
    [(CrossEntropy(), 0, 1), (KLRegularized(), 1, 1), (TRADES(), 1, 1)],
)
def test_clean_and_perturbed_images_take_their_own_routes(
    criterion: AdversarialCriterion, clean: int, adv: int
) -> None:
    module = RobustClassifier(
        convert_dual_batchnorm(small_network()),
        num_classes=3,
        attack=ATTACK,
        criterion=criterion,
    )
    fit(module, count=1)
    (layer,) = routes.routed_layers(module).values()
    counts = {
        name: int(each.get_buffer("num_batches_tracked"))
        for name, each in layer.routes.items()
    }
    assert counts == {"clean": clean, "adv": adv}


def test_the_target_of_the_attack_takes_the_clean_route() -> None:
    seen: list[str | None] = []

    class Watching(RobustClassifier):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(routes._ROUTE.get())
            return super().forward(images)

    module = Watching(small_network(), num_classes=3, attack=ATTACK, criterion="trades")
    fit(module, count=1, limit_val_batches=0)
    assert seen == ["clean", "adv", "adv", "adv", "clean", "adv"]


def test_names_stand_for_objectives() -> None:
    assert list_criteria() == ["cross_entropy", "kl_regularized", "trades"]
    assert is_criterion("trades")
    assert create_criterion("trades", beta=2.0) == TRADES(beta=2.0)
    module = RobustClassifier(
        "resnet8_tiny", num_classes=3, attack=ATTACK, criterion="kl_regularized"
    )
    assert module.criterion == KLRegularized(beta=1.0)


@dataclass(frozen=True)
class Focused:
    """Written by somebody else, without a class of ours."""

    needs_noise: ClassVar[bool] = False

    def attacked_loss(self, clean: Pass, labels: Tensor) -> Any:
        return lambda logits: -logits.gather(1, labels[:, None])[:, 0]

    def training_loss(self, clean: Pass, adversarial: Pass, labels: Tensor) -> Tensor:
        return 2 * F.cross_entropy(adversarial(), labels)


def test_an_objective_of_ones_own() -> None:
    module = RobustClassifier(
        "resnet8_tiny", num_classes=3, attack=ATTACK, criterion=Focused()
    )
    assert fit(module).callback_metrics["train_loss"] > 0


def test_a_checkpoint_comes_back_without_what_it_was_trained_with(
    tmp_path: Path,
) -> None:
    module = RobustClassifier(
        "resnet8_tiny", num_classes=3, attack=ATTACK, criterion=TRADES(beta=3.0)
    )
    fit(module).save_checkpoint(tmp_path / "last.ckpt")
    restored = RobustClassifier.load_from_checkpoint(
        tmp_path / "last.ckpt", weights_only=True
    )
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(restored.eval()(images), module.eval()(images))
    assert restored.attack is None
    assert "TRADES(beta=3.0)" in module.hparams["trained_with"]
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    trained_with = content["hyper_parameters"]["trained_with"]
    assert trained_with.startswith("TRADES(beta=3.0), PGD(threat_model=ThreatModel(")


@pytest.mark.parametrize(
    ("criterion", "attack", "error", "message"),
    [
        ("trade", ATTACK, ValueError, r"Unknown criterion 'trade'.*'trades'"),
        (TRADES, ATTACK, TypeError, r"criterion is <class .*TRADES.*TRADES\(beta=6.0"),
        (6.0, ATTACK, TypeError, r"criterion is 6.0; expected a criterion"),
        ("trades", None, ValueError, r"TRADES\(beta=6.0\) came without an attack"),
        (
            "trades",
            FGSM(ThreatModel()),
            ValueError,
            r"FGSM starts at the image itself.*TRADES attacks has no gradient",
        ),
        (
            TRADES(),
            AttackSchedule(PGD(ThreatModel(), random_start=False)),
            ValueError,
            r"PGD starts at the image itself",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    criterion: Any, attack: Attack | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        RobustClassifier("resnet8_tiny", attack=attack, criterion=criterion)


@pytest.mark.parametrize("create", [TRADES, KLRegularized])
@pytest.mark.parametrize("beta", [-1.0, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused(create: Any, beta: float) -> None:
    with pytest.raises(ValueError, match=r"beta=.* must be finite and not negative"):
        create(beta=beta)
