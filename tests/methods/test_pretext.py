from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lightly_adv import PGD, ThreatModel, create_method, list_methods
from lightly_adv.attacks import AttackSchedule
from lightly_adv.isolation import rng
from lightly_adv.methods import PretextModule
from lightly_adv.pretext import JigsawTask, create_pretext_task

ATTACK = PGD(ThreatModel(eps=8 / 255), steps=2, random_start=False)
SEED = 7

pytestmark = pytest.mark.filterwarnings("ignore")


def batches(count: int = 2) -> Any:
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.rand(8, 3, 8, 8, generator=generator), torch.arange(8))
        for _ in range(count)
    ]
    return torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]


def fit(module: pl.LightningModule, *, epochs: int = 1, count: int = 2) -> pl.Trainer:
    pl.seed_everything(SEED, verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, batches(count), batches(1))
    return trainer


def tiny_task() -> Any:
    pool = nn.AdaptiveAvgPool2d(2)
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), pool, nn.Flatten()
    )
    return create_pretext_task("rotation", backbone=backbone)


def independent_attack(task: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    """PGD without a random start, written out."""
    task = copy.deepcopy(task)
    perturbed, eps = inputs, ATTACK.threat_model.eps
    for _ in range(ATTACK.steps):
        perturbed = perturbed.detach().requires_grad_()
        loss = F.cross_entropy(task(perturbed), targets)
        (grad,) = torch.autograd.grad(loss, perturbed)
        moved = (perturbed + eps / 4 * grad.sign() - inputs).clamp(-eps, eps)
        perturbed = (inputs + moved).clamp(0, 1)
    return perturbed.detach()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_that_of_the_paper(weight: float) -> None:
    task = tiny_task()
    module = PretextModule(copy.deepcopy(task), attack=ATTACK, weight=weight, lr=0.0)
    trainer = fit(module, count=1)

    (batch,) = batches(1)
    inputs, targets = task.draw(batch[0], rng.batch_generator(SEED, 0, 0, 0))
    clean = adversarial = torch.tensor(0.0)
    if weight < 1:
        clean = F.cross_entropy(task(inputs), targets)
    if weight > 0:
        perturbed = independent_attack(task, inputs, targets)
        adversarial = F.cross_entropy(task(perturbed), targets)
    expected = (1 - weight) * clean + weight * adversarial
    found = trainer.callback_metrics["train_loss"]
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-6)
    # One pass per term, each with statistics of its own batch.
    passes = (weight < 1) + (weight > 0)
    ours, theirs = (each.state_dict() for each in (module.task, task))
    assert ours["backbone.1.num_batches_tracked"] == passes
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "evaluations", "logged"),
    [
        ({}, 1, {"train_top1"}),
        ({"attack": ATTACK}, 2 + 2, {"train_top1", "train_robust_top1"}),
        ({"attack": ATTACK, "weight": 1.0}, 2 + 1, {"train_robust_top1"}),
        ({"attack": ATTACK, "weight": 0.0}, 1, {"train_top1"}),
    ],
)
def test_nothing_is_computed_that_is_not_needed(
    options: dict[str, Any], evaluations: int, logged: set[str]
) -> None:
    module = PretextModule(tiny_task(), **options)
    calls: list[bool] = []  # whether an attack asks
    forward = module.task.forward

    def counted(inputs: Tensor) -> Tensor:
        if module.trainer.training:
            calls.append(torch.is_grad_enabled() and inputs.requires_grad)
        return forward(inputs)

    module.task.forward = counted  # type: ignore[method-assign]
    metrics = fit(module, count=1).callback_metrics
    assert len(calls) == evaluations
    assert calls.count(False) == len(logged)
    assert {name for name in metrics if name.startswith("train")} == logged | {
        "train_loss"
    }


class Watch(pl.Callback):
    """Whether the global random state moves while a batch is validated."""

    def __init__(self) -> None:
        self.unmoved: list[bool] = []

    def on_validation_batch_start(self, *_: Any) -> None:
        self.before = torch.get_rng_state()

    def on_validation_batch_end(self, *_: Any) -> None:
        self.unmoved.append(torch.equal(torch.get_rng_state(), self.before))


def test_validation_repeats_and_leaves_no_trace() -> None:
    module = PretextModule(tiny_task(), attack=PGD(ThreatModel(eps=0.1), steps=1))
    trainer = fit(module)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    watch = Watch()
    trainer.callbacks.append(watch)  # type: ignore[attr-defined]
    found = [trainer.validate(module, batches(3), verbose=False)[0] for _ in range(2)]
    assert found[0] == found[1]
    assert set(found[0]) == {"val_loss", "val_top1", "val_robust_top1"}
    assert watch.unmoved == [True] * 6
    after = module.state_dict()
    assert all(torch.equal(state[key], after[key]) for key in state)


def test_validation_attack_can_be_another_or_none() -> None:
    plain = fit(PretextModule(tiny_task()), count=1).callback_metrics
    assert "val_robust_top1" not in plain
    module = PretextModule(tiny_task(), val_attack=ATTACK)
    watched = fit(module, count=1).callback_metrics
    assert "val_robust_top1" in watched
    assert "train_robust_top1" not in watched


def test_validation_runs_the_final_attack_of_a_schedule() -> None:
    seen: list[tuple[bool, float]] = []

    class Spy(PGD):
        def perturb_views(self, *args: Any, **kwargs: Any) -> list[Tensor]:
            seen.append((module.trainer.training, self.threat_model.eps))
            return super().perturb_views(*args, **kwargs)

    attack = AttackSchedule(Spy(ThreatModel(eps=0.1), steps=1), ramp=1.0)
    module = PretextModule(tiny_task(), attack=attack)
    fit(module, epochs=2, count=2)
    training = [eps for in_training, eps in seen if in_training]
    assert training == pytest.approx([0, 0.025, 0.05, 0.075])
    assert [eps for in_training, eps in seen if not in_training] == [0.1, 0.1]


def test_runs_repeat_and_the_attack_leaves_the_questions_alone() -> None:
    drawn: list[Tensor] = []

    class Spy:
        def __init__(self, module: PretextModule) -> None:
            self.draw = module.task.draw

        def __call__(self, images: Tensor, generator: Generator) -> Any:
            inputs, targets = self.draw(images, generator)
            drawn.append(targets)
            return inputs, targets

    def run(**options: Any) -> dict[str, Tensor]:
        pl.seed_everything(SEED, verbose=False)
        module = PretextModule(tiny_task(), **options)
        module.task.draw = Spy(module)  # type: ignore[method-assign, assignment]
        fit(module)
        return module.state_dict()

    attack = PGD(ThreatModel(eps=0.1), steps=1)
    first, second = run(attack=attack), run(attack=attack)
    assert all(torch.equal(first[key], second[key]) for key in first)
    run()
    thirds = [torch.stack(drawn[start : start + 3]) for start in (0, 3, 6)]
    assert torch.equal(thirds[0], thirds[1])
    assert torch.equal(thirds[0], thirds[2])


def test_backbone_by_name_and_channels_last() -> None:
    module = PretextModule("rotation", backbone="resnet8_tiny", channels_last=True)
    weight = module.backbone.get_parameter("layer1.0.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    fit(module, count=1)
    assert module(torch.rand(2, 3, 8, 8)).shape == (2, 4)


def test_it_comes_back_from_its_own_checkpoint(tmp_path: Path) -> None:
    module = PretextModule("rotation", backbone="resnet8_tiny", attack=ATTACK)
    path = tmp_path / "last.ckpt"
    fit(module, count=1).save_checkpoint(path)
    restored = PretextModule.load_from_checkpoint(path, weights_only=True)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(restored.eval()(images), module.eval()(images))


def test_it_is_registered() -> None:
    assert "pretext" in list_methods()
    module = create_method("pretext", task="rotation", backbone="resnet8_tiny")
    assert isinstance(module, PretextModule)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "rotaton"}, ValueError, r"Unknown pretext task 'rotaton'"),
        ({"task": 3}, TypeError, r"task is a int; expected a PretextTask"),
        ({"weight": 1.5}, ValueError, r"weight=1.5 must lie in \[0, 1\]"),
        ({"weight": float("nan")}, ValueError, r"weight=nan"),
        ({"attack": "pgd"}, TypeError, r"attack is a str"),
        ({"val_attack": 1}, TypeError, r"attack is a int"),
        ({"warmup": -1.0}, ValueError, r"warmup=-1.0"),
    ],
)
def test_bad_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PretextModule(**{"task": "rotation", **options})


def test_a_task_with_a_backbone_takes_no_other() -> None:
    with pytest.raises(TypeError, match="backbone= came with a RotationTask"):
        PretextModule(tiny_task(), backbone="resnet8_tiny")


def test_options_of_the_task(tmp_path: Path) -> None:
    options = {"grid": 2, "num_permutations": 5}
    module = PretextModule("jigsaw", backbone="resnet8_tiny", task_options=options)
    assert isinstance(module.task, JigsawTask)
    assert module.task.permutations.shape == (6, 4)
    path = tmp_path / "last.ckpt"
    fit(module, count=1).save_checkpoint(path)
    restored = PretextModule.load_from_checkpoint(path, weights_only=True)
    found = restored.task.get_buffer("permutations")
    assert torch.equal(found, module.task.permutations)
    with pytest.raises(ValueError, match=r"\{'gird': 2\} do not fit .*'jigsaw'"):
        PretextModule("jigsaw", task_options={"gird": 2})
    with pytest.raises(TypeError, match="task_options= came with a RotationTask"):
        PretextModule(tiny_task(), task_options={"normalize": None})


@pytest.mark.parametrize("name", ["jigsaw", "selfie"])
def test_other_tasks_train(name: str) -> None:
    options = {"jigsaw": {"grid": 2}, "selfie": {"depth": 1, "grid": 4}}[name]
    module = PretextModule(
        name, backbone="resnet8_tiny", task_options=options, attack=ATTACK
    )
    before = module.backbone.get_parameter("layer1.0.conv1.weight").clone()
    metrics = fit(module).callback_metrics
    assert metrics["train_loss"].isfinite()
    assert {"val_top1", "val_robust_top1"} <= set(metrics)
    after = module.backbone.get_parameter("layer1.0.conv1.weight")
    assert not torch.equal(before, after)


def test_batches_of_several_views_are_refused() -> None:
    module = PretextModule(tiny_task())
    loader: Any = [[[torch.rand(8, 3, 8, 8)] * 2, torch.arange(8)]]
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False
    )
    with pytest.raises(TypeError, match="a list; expected one tensor"):
        trainer.fit(module, loader)


def test_endless_training_is_refused() -> None:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, enable_checkpointing=False
    )
    with pytest.raises(ValueError, match=r"=inf.*give the Trainer max_steps"):
        trainer.fit(PretextModule(tiny_task()), batches(1))
