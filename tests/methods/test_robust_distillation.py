"""Making encoders robust: what moves, what stays, and faults of others' code."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv import APGD, FGSM, PGD, ThreatModel
from lightly_adv.attacks import AttackSchedule
from lightly_adv.callbacks.exact_resume import ExactResume
from lightly_adv.methods import (
    CleanConstraint,
    CleanDistance,
    Consistency,
    RobustDistillation,
    create_method,
)
from lightly_adv.methods.fidelity import Features
from lightly_adv.models import create_backbone
from lightly_adv.models.export import export_model, load_exported
from lightly_adv.training.optimizers import WarmupCosineAdamW

EPS = 8 / 255
ATTACK = PGD(ThreatModel(eps=EPS), steps=2)
FIDELITIES = [lambda: None, CleanConstraint, CleanDistance, Consistency]

pytestmark = pytest.mark.filterwarnings("ignore")


def backbone(name: str = "resnet8_tiny") -> nn.Module:
    torch.manual_seed(0)
    found = create_backbone(name)
    for layer in found.modules():  # as after training
        if isinstance(layer, nn.BatchNorm2d):
            layer.get_buffer("running_mean").normal_(0, 0.1)
    return found


def module(attack: Any = ATTACK, **options: Any) -> RobustDistillation:
    torch.manual_seed(1)
    optimizer = WarmupCosineAdamW(1e-3, 0.01, warmup=0.0)
    return RobustDistillation(backbone(), attack, optimizer=optimizer, **options)


def images(count: int = 8) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def fit(found: pl.LightningModule, **options: Any) -> pl.Trainer:
    pl.seed_everything(7, verbose=False)
    ckpt: str | None = options.pop("ckpt_path", None)
    data: Any = images()
    trainer = pl.Trainer(
        **{"max_epochs": 2, "enable_checkpointing": False, **options},
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(found, torch.utils.data.DataLoader(data, 4), ckpt_path=ckpt)
    return trainer


def moved(before: dict[str, Tensor], found: nn.Module) -> set[str]:
    after = found.state_dict()
    return {key for key in after if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_training_brings_attacked_features_nearer(fidelity: Any) -> None:
    strong = PGD(ThreatModel(eps=0.5), steps=2)
    found = module(strong, fidelity=fidelity())
    before = found.losses(images())["attacked_distance"]
    fit(found, max_epochs=30)
    after = found.losses(images())["attacked_distance"]
    assert after < 0.8 * before


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_without_a_perturbation_nothing_is_learnt(fidelity: Any, distance: str) -> None:
    """At eps = 0 the student is the teacher already: the gradient is exactly 0."""
    attack = PGD(ThreatModel(eps=0.0), steps=2)
    found = module(attack, fidelity=fidelity(), distance=distance)
    torch.autograd.backward(found.losses(images())["train_loss"])
    gradients = [parameter.grad for parameter in found.backbone.parameters()]
    assert all(grad is not None and not grad.any() for grad in gradients)


def test_the_attack_is_the_distance_of_the_student_from_the_clean_teacher() -> None:
    """Not of an undefended model, and not towards the attacked teacher."""
    found = module()
    with torch.no_grad():
        for parameter in found.backbone.parameters():
            parameter.mul_(1.5)
    x = images()
    target = found.targets(x)
    assert torch.equal(target, found.teacher(found.normalize(x)))
    perturbed = found.perturbed(x, target)
    assert float((perturbed - x).abs().max()) <= EPS + 1e-6

    def distance(x: Tensor) -> Tensor:
        features: Tensor = found.backbone(found.normalize(x))
        return (features - target).square().sum(dim=1)

    expected = found.perturb(distance, x, bn_mode="eval")
    assert torch.equal(perturbed, expected)


def test_losses_of_the_attack_are_those_of_each_image() -> None:
    """Restarts keep the worse of two runs image by image, not batch by batch."""
    x = images()
    distances = []
    for restarts in (1, 3):
        attack = PGD(ThreatModel(eps=EPS), steps=1, restarts=restarts)
        found = module(attack).eval()
        target = found.targets(x)
        with torch.no_grad():
            features = found(found.perturbed(x, target))
        distances.append((features - target).square().sum(dim=1))
    assert (distances[1] >= distances[0] - 1e-6).all()
    assert (distances[1] > distances[0]).any()


# The faults of frontier code, each as a test that such a version fails.


def test_eps_is_in_pixels_whatever_the_normalisation() -> None:
    for normalize in (None, {"mean": [0.5] * 3, "std": [0.1] * 3}):
        found = module(normalize=normalize)
        x = images()
        difference = (found.perturbed(x, found.targets(x)) - x).abs().max()
        assert float(difference) == pytest.approx(EPS, abs=1e-6)
    normalized = ThreatModel(eps=EPS, normalize={"mean": [0.5] * 3, "std": [0.5] * 3})
    with pytest.raises(ValueError, match=r"normalize=.*pixels.*normalize= to Robust"):
        module(PGD(normalized))


def test_attacked_images_stay_in_the_box_from_the_start_on() -> None:
    seen: list[Tensor] = []
    found = module()
    found.normalize.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    dark = torch.zeros(4, 3, 32, 32)
    found.losses(dark)
    assert len(seen) >= 4
    assert all(float(x.min()) >= 0 and float(x.max()) <= EPS + 1e-6 for x in seen)


def test_the_attack_leaves_no_gradient() -> None:
    found = module()
    for parameter in found.backbone.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    x = images()
    found.perturbed(x, found.targets(x))
    for parameter in found.backbone.parameters():
        assert parameter.requires_grad
        assert parameter.grad is not None
        assert (parameter.grad == 0.5).all()


def test_the_gradient_is_that_of_the_loss_at_the_attacked_images_alone() -> None:
    found = module()
    x = images()
    torch.autograd.backward(found.losses(x)["train_loss"])
    twin = module()
    target = twin.targets(x)
    perturbed = twin.perturbed(x, target)
    features = twin.backbone(twin.normalize(perturbed))
    torch.autograd.backward((features - target).square().sum(dim=1).mean())
    pairs = zip(found.backbone.parameters(), twin.backbone.parameters(), strict=True)
    for first, second in pairs:
        assert first.grad is not None
        assert second.grad is not None
        assert torch.allclose(first.grad, second.grad, rtol=1e-4, atol=1e-6)


def test_the_teacher_is_the_student_at_the_start_and_stays_bit_for_bit() -> None:
    found = module(fidelity=CleanConstraint())
    start = backbone().state_dict()
    assert all(
        torch.equal(value, start[key])
        for key, value in found.teacher.state_dict().items()
    )
    digest = found.teacher_digest
    fit(found)
    assert not moved(start, found.teacher)
    assert found.teacher_digest == digest


def test_one_distance_attacks_and_trains_unless_told_otherwise() -> None:
    found = module(distance="cosine")
    assert found.attack_distance is found.distance
    other = module(distance="cosine", attack_distance="l2")
    assert other.attack_distance is not other.distance


@pytest.mark.parametrize("fidelity", FIDELITIES[1:])
def test_every_term_reaches_the_student(fidelity: Any) -> None:
    """Sim-CLIP's second half compares two constants."""
    chosen = fidelity()
    found = module(fidelity=chosen)
    with torch.no_grad():
        for parameter in found.backbone.parameters():
            parameter.mul_(1.1)
    x = images()
    target = found.targets(x)
    attacked, clean = found(found.perturbed(x, target)), found(x)
    loss = chosen.loss(Features(attacked, target, clean), found.distance).mean()
    gradients = torch.autograd.grad(loss, [attacked, clean])
    assert all(gradient.any() for gradient in gradients)


def test_features_that_are_not_finite_are_refused() -> None:
    found = module()
    with torch.no_grad():
        found.teacher.get_parameter("conv1.weight").fill_(float("nan"))
    with pytest.raises(ValueError, match=r"not finite \(torch.float32\).*bf16-mixed"):
        found.losses(images())


def test_the_last_weights_are_those_that_are_attacked_and_exported(
    tmp_path: Path,
) -> None:
    """Not the best of some epoch, and not those of an undefended copy."""
    found = module(trainable="lora:4")
    keys = list(backbone().state_dict())
    fit(found)
    robust = found.robust_backbone()
    assert list(robust.state_dict()) == keys
    found.eval()
    x = found.normalize(images())
    assert torch.allclose(robust(x), found.backbone(x), atol=1e-6)
    export_model(robust, tmp_path / "robust", image_size=32)
    again = load_exported(tmp_path / "robust").model
    assert torch.equal(again(x), robust(x))


# What moves, and what stays.


@pytest.mark.parametrize(
    ("trainable", "prefixes"),
    [
        ("all", ("",)),
        ("norm", ("bn", "layer", "norm")),
        ("last:1", ("layer3", "layer4")),
        ("first:1", ("conv1", "bn1", "layer1")),
    ],
)
def test_only_what_is_chosen_moves(trainable: str, prefixes: tuple[str, ...]) -> None:
    found = module(trainable=trainable)
    before = copy.deepcopy(found.state_dict())
    trained = {n for n, p in found.named_parameters() if p.requires_grad}
    fit(found)
    assert moved(before, found) == trained
    assert all(name.removeprefix("backbone.").startswith(prefixes) for name in trained)


def test_statistics_are_those_of_the_teacher_unless_told_otherwise() -> None:
    for statistics, stay in (("teacher", True), ("batch", False)):
        found = module(statistics=statistics)
        before = copy.deepcopy(found.state_dict())
        fit(found)
        running = {key for key in before if "running" in key and "backbone" in key}
        assert running
        assert (
            not running & moved(before, found)
            if stay
            else (running <= moved(before, found))
        )


def test_the_clean_features_stay_with_the_statistics_of_the_teacher() -> None:
    found = module()
    found.train()
    assert float(found.losses(images())["clean_distance"]) == 0
    drifting = module(statistics="batch")
    drifting.train()
    assert float(drifting.losses(images())["clean_distance"]) > 0


def test_the_bound_follows_training() -> None:
    constraint = CleanConstraint(rho=0.001, lr=0.5)
    found = module(fidelity=constraint)
    fit(found, max_epochs=5)
    assert float(constraint.multiplier) != 1.0


@pytest.mark.parametrize("tokens", ["class", "patch", "all"])
def test_tokens_of_a_vit(tokens: Any) -> None:
    vit = create_backbone("test_vit", img_size=32, patch_size=8)
    found = RobustDistillation(vit, ATTACK, tokens=tokens, fidelity=CleanDistance())
    loss = found.training_step(images(4), 0)
    torch.autograd.backward(loss)
    assert found.perturbed(images(4), found.targets(images(4))).shape == (4, 3, 32, 32)


def test_gradient_checkpointing_changes_nothing_but_memory() -> None:
    losses = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        vit = create_backbone("test_vit", img_size=32, patch_size=8)
        found = RobustDistillation(vit, ATTACK, gradient_checkpointing=checkpointing)
        fit(found, max_epochs=1)
        losses.append(float(found.losses(images())["train_loss"]))
        assert not getattr(found.robust_backbone(), "grad_checkpointing", False)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    with pytest.raises(ValueError, match="set_grad_checkpointing"):
        RobustDistillation(nn.Flatten(), ATTACK, gradient_checkpointing=True)


def test_other_attacks_schedules_and_precision() -> None:
    for attack, options in (
        (APGD(ThreatModel(norm="L2", eps=0.5), steps=2), {}),
        (AttackSchedule(ATTACK, ramp=0.5), {"accumulate_grad_batches": 2}),
        (ATTACK, {"precision": "bf16-mixed"}),
    ):
        found = module(attack, fidelity=CleanConstraint())
        fit(found, **options)
        assert found.losses(images())["train_loss"].isfinite()


def test_a_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def one() -> RobustDistillation:
        return module(fidelity=CleanConstraint(), trainable="lora:2")

    whole, resumed = one(), one()
    third = pl.callbacks.ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1
    )
    fit(whole, callbacks=[ExactResume(), third], enable_checkpointing=True)
    checkpoint = str(tmp_path / "step=3.ckpt")
    fit(resumed, callbacks=[ExactResume()], ckpt_path=checkpoint)
    assert not moved(whole.state_dict(), resumed)


def test_another_teacher_is_refused_on_resume(tmp_path: Path) -> None:
    first = module()
    trainer = fit(first)
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    torch.manual_seed(5)
    second = RobustDistillation(create_backbone("resnet8_tiny"), ATTACK)
    with pytest.raises(ValueError, match=r"digest [0-9a-f]{12}.*began from"):
        fit(second, max_epochs=4, ckpt_path=str(tmp_path / "first.ckpt"))


def test_sharded_parameters_are_refused() -> None:
    class ModelParallelStrategy:
        """Named like Lightning's."""

    found: Any = module()
    found._trainer = SimpleNamespace(strategy=ModelParallelStrategy())
    with pytest.raises(ValueError, match=r"ModelParallelStrategy shards.*ddp"):
        found.setup("fit")


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"FGSM.*random_start=False.*True"):
        module(FGSM(ThreatModel(eps=EPS)))
    with pytest.raises(TypeError, match=r"backbone is a str.*pretrained=True"):
        RobustDistillation("resnet18", ATTACK)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"classifier of 10"):
        RobustDistillation(create_backbone("resnet8_tiny", num_classes=10), ATTACK)
    with pytest.raises(ValueError, match=r"tokens='patch'.*no tokens"):
        module(tokens="patch")
    with pytest.raises(ValueError, match=r"statistics='own'.*'teacher'"):
        module(statistics="own")
    with pytest.raises(ValueError, match=r"distance='l1'"):
        module(distance="l1")
    with pytest.raises(TypeError, match="attack"):
        module("pgd")


def test_it_is_there_by_name() -> None:
    found = create_method("robust_distillation", backbone=backbone(), attack=ATTACK)
    assert isinstance(found, RobustDistillation)
