from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.attacks import AttackSchedule
from lightly_adv.methods import RobustClassifier, Trainable
from lightly_adv.models import (
    IMAGENET_NORMALIZE,
    Normalize,
    create_backbone,
    save_backbone,
)

ATTACK = PGD(ThreatModel(eps=8 / 255), steps=2, random_start=False)

pytestmark = pytest.mark.filterwarnings("ignore")


def batches(count: int = 2) -> Any:
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.rand(4, 3, 8, 8, generator=generator), torch.arange(4) % 3)
        for _ in range(count)
    ]
    return torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]


def fit(module: pl.LightningModule, epochs: int = 1, count: int = 2) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches(count), batches(1))
    return trainer


def changed(module: nn.Module, train: Callable[[], Any]) -> set[str]:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    train()
    after = module.state_dict()
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("attack", [None, ATTACK])
@pytest.mark.parametrize(
    ("trainable", "moving"),
    [("head", "head."), ("last_stage", ("head.", "backbone.layer3."))],
)
def test_what_is_frozen_stays_bit_for_bit(
    trainable: Trainable, moving: str | tuple[str, ...], attack: PGD | None
) -> None:
    classifier = RobustClassifier(
        "resnet8_tiny", num_classes=3, trainable=trainable, attack=attack
    )
    keys = set(classifier.state_dict())
    expected = {key for key in keys if key.startswith(moving)}
    assert changed(classifier, lambda: fit(classifier, epochs=2)) == expected


def test_everything_moves_in_full_fine_tuning() -> None:
    classifier = RobustClassifier("resnet8_tiny", num_classes=3)
    moved = changed(classifier, lambda: fit(classifier))
    assert moved == set(classifier.state_dict())


@pytest.mark.parametrize("trainable", ["head", "last_stage", "all"])
def test_modes_and_optimiser_follow(trainable: Trainable) -> None:
    classifier = RobustClassifier("resnet8_tiny", num_classes=3, trainable=trainable)
    classifier.eval()
    assert not any(each.training for each in classifier.modules())
    for start in (classifier, classifier.train()):
        training = {n for n, m in start.backbone.named_modules() if m.training}
        inside = {"head": "-", "last_stage": "layer3", "all": ""}[trainable]
        assert training == {
            name
            for name, _ in start.backbone.named_modules()
            if name.startswith(inside)
        }
        assert start.head.training
    trainer = fit(classifier)
    (group,) = trainer.optimizers[0].param_groups
    trained = {id(p) for p in classifier.parameters() if p.requires_grad}
    assert {id(p) for p in group["params"]} == trained


def test_the_loss_is_that_of_perturbed_images() -> None:
    torch.manual_seed(0)
    pool = nn.AdaptiveAvgPool2d(2)
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), pool, nn.Flatten()
    )
    classifier = RobustClassifier(
        backbone, num_classes=3, attack=ATTACK, normalize=None, lr=0.0
    )
    ((images, labels),) = batches(1)

    perturbed, eps = images, ATTACK.threat_model.eps
    for _ in range(ATTACK.steps):
        perturbed = perturbed.detach().requires_grad_()
        loss = F.cross_entropy(classifier(perturbed), labels)
        (grad,) = torch.autograd.grad(loss, perturbed)
        moved = (perturbed + eps / 4 * grad.sign() - images).clamp(-eps, eps)
        perturbed = (images + moved).clamp(0, 1)
    expected = F.cross_entropy(classifier(perturbed), labels)

    for each in backbone:
        if isinstance(each, nn.BatchNorm2d):
            each.reset_running_stats()
    metrics = fit(classifier, count=1).callback_metrics
    assert float(metrics["train_loss"]) == pytest.approx(expected.item(), abs=1e-6)


def test_schedule_grows_with_training() -> None:
    seen: list[float] = []

    class Spy(PGD):
        def perturb_views(self, *args: Any, **kwargs: Any) -> list[Tensor]:
            seen.append(self.threat_model.eps)
            return super().perturb_views(*args, **kwargs)

    attack = AttackSchedule(Spy(ThreatModel(eps=0.1), steps=1), ramp=1.0)
    fit(RobustClassifier("resnet8_tiny", num_classes=3, attack=attack), 2, 2)
    assert seen == pytest.approx([0, 0.025, 0.05, 0.075])


def test_metrics_are_in_percent_and_named_after_the_images() -> None:
    clean = fit(RobustClassifier("resnet8_tiny", num_classes=3)).callback_metrics
    assert set(clean) == {"train_loss", "train_top1", "val_loss", "val_top1"}
    assert float(clean["val_top1"]) in (0, 25, 50, 75, 100)
    module = RobustClassifier("resnet8_tiny", num_classes=3, attack=ATTACK)
    robust = fit(module).callback_metrics
    assert set(robust) == {"train_loss", "train_robust_top1", "val_loss", "val_top1"}


def test_runs_repeat() -> None:
    def run() -> dict[str, Tensor]:
        pl.seed_everything(5, verbose=False)
        attack = PGD(ThreatModel(eps=0.1), steps=1)
        module = RobustClassifier("resnet8_tiny", num_classes=3, attack=attack)
        fit(module)
        return module.state_dict()

    first, second = run(), run()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_normalize_is_inside() -> None:
    stats: Any = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    backbone = create_backbone("resnet8_tiny")
    inside = RobustClassifier(backbone, num_classes=3, normalize=stats).eval()
    images = torch.rand(2, 3, 8, 8)
    expected = inside.head(backbone((images - 0.5) / 0.5))
    assert torch.equal(inside(images), expected)
    plain = RobustClassifier(backbone, num_classes=3, normalize=None).eval()
    plain.head = inside.head
    assert torch.equal(plain((images - 0.5) / 0.5), expected)


def test_normalize_is_that_of_the_backbone() -> None:
    images = torch.rand(2, 3, 8, 8)
    found = RobustClassifier("test_resnet", num_classes=3).eval()
    assert torch.equal(found.normalize(images), (images - 0.5) / 0.5)
    usual = RobustClassifier("resnet8_tiny", num_classes=3)
    assert torch.equal(usual.normalize(images), Normalize(IMAGENET_NORMALIZE)(images))
    own = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))
    plain = RobustClassifier(own, num_classes=3)
    assert torch.equal(plain.normalize(images), usual.normalize(images))
    # A later timm may change its configuration; a checkpoint must not.
    assert found.hparams["normalize"] == {"mean": (0.5,) * 3, "std": (0.5,) * 3}


def test_channels_last_changes_nothing_but_the_format() -> None:
    torch.manual_seed(0)
    first = RobustClassifier("resnet8_tiny", num_classes=3).eval()
    second = RobustClassifier("resnet8_tiny", num_classes=3, channels_last=True).eval()
    second.load_state_dict(first.state_dict())
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(first(images), second(images))
    weight = second.backbone.get_parameter("layer1.0.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_checkpoint_is_loaded_and_reported(tmp_path: Path) -> None:
    backbone = create_backbone("resnet8_tiny")
    path = tmp_path / "backbone.safetensors"
    save_backbone(backbone, path)
    classifier = RobustClassifier("resnet8_tiny", num_classes=3, checkpoint=path)
    assert classifier.load_report is not None
    assert len(classifier.load_report.matched) == len(backbone.state_dict())
    expected = backbone.state_dict()
    for key, value in classifier.backbone.state_dict().items():
        assert torch.equal(value, expected[key])


def test_it_comes_back_from_its_own_checkpoint(tmp_path: Path) -> None:
    classifier = RobustClassifier(
        "resnet8_tiny", num_classes=3, trainable="head", attack=ATTACK
    )
    path = tmp_path / "last.ckpt"
    fit(classifier).save_checkpoint(path)
    restored = RobustClassifier.load_from_checkpoint(path, weights_only=True)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(restored.eval()(images), classifier.eval()(images))
    assert restored.hparams["trainable"] == "head"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_classes": 1}, ValueError, r"num_classes=1; expected at least 2"),
        ({"trainable": "tail"}, ValueError, r"trainable='tail' is unknown.*'head'"),
        ({"normalize": "imagenet"}, ValueError, r"normalize='imagenet' is unknown"),
        ({"attack": "pgd"}, TypeError, r"attack is a str; expected an attack"),
        ({"lr": -1.0}, ValueError, r"lr=-1.0"),
        ({"checkpoint": "nix.ckpt"}, FileNotFoundError, r"no checkpoint at nix.ckpt"),
        ({"backbone": "resnet8_tyni"}, ValueError, r"Did you mean 'resnet8_tiny'"),
    ],
)
def test_bad_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        RobustClassifier(**{"backbone": "resnet8_tiny", **options})
