from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel, create_method
from lightly_adv.attacks import AttackSchedule
from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.functional import gradient_diversity
from lightly_adv.isolation import rng
from lightly_adv.methods import PretextEnsembleModule
from lightly_adv.pretext import JigsawTask, PretextEnsemble
from tests.methods.test_pretext import Watch as RandomState
from tests.pretext.test_ensemble import ties
from tests.pretext.tiny import BrightTask, CroppedTask, TinyNet

EPS = 8 / 255
ATTACK = PGD(ThreatModel(eps=EPS), steps=2, random_start=False)
OPTIONS: dict[str, dict[str, Any]] = {"jigsaw": {"grid": 2, "num_permutations": 3}}
SELFIE = {"grid": 2, "num_masked": 2, "depth": 1}
SEED = 7

pytestmark = pytest.mark.filterwarnings("ignore")


def batches(count: int = 2) -> Any:
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.rand(4, 3, 8, 8, generator=generator), torch.arange(4))
        for _ in range(count)
    ]
    return torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]


def fit(
    module: pl.LightningModule, *, epochs: int = 1, count: int = 1, **options: Any
) -> pl.Trainer:
    pl.seed_everything(SEED, verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(module, batches(count), batches(1))
    return trainer


def create(**options: Any) -> PretextEnsembleModule:
    torch.manual_seed(SEED)
    arguments = {
        "tasks": ("rotation", "jigsaw"),
        "backbone": TinyNet(),
        "task_options": OPTIONS,
        **options,
    }
    return PretextEnsembleModule(**arguments)


def first_batch(ensemble: PretextEnsemble) -> tuple[list[Tensor], list[Tensor]]:
    return ensemble.draw(next(iter(batches(1)))[0], rng.batch_generator(SEED, 0, 0, 0))


def losses_and_gradients(
    ensemble: PretextEnsemble, inputs: list[Tensor], targets: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Task by task, each on its own."""
    losses: list[Tensor] = []
    grads: list[Tensor] = []
    tasks: Any = ensemble.tasks.values()
    for task, x, y in zip(tasks, inputs, targets, strict=True):
        losses.append(task.loss(x, y))
        grads += torch.autograd.grad(losses[-1], x, create_graph=True)
    return losses, grads


def independent_attack(
    ensemble: PretextEnsemble,
    inputs: list[Tensor],
    targets: list[Tensor],
    diversity_weight: float,
) -> list[Tensor]:
    """Joint PGD without a random start, written out."""
    ensemble = copy.deepcopy(ensemble)
    found = inputs
    for _ in range(ATTACK.steps):
        found = [each.detach().requires_grad_() for each in found]
        losses, grads = losses_and_gradients(ensemble, found, targets)
        objective = torch.stack(losses).sum()
        if diversity_weight:
            objective = objective + diversity_weight * gradient_diversity(grads)
        steps = torch.autograd.grad(objective, found)
        moved = [
            (each + EPS / 4 * step.sign() - clean).clamp(-EPS, EPS)
            for each, step, clean in zip(found, steps, inputs, strict=True)
        ]
        found = [(x + m).clamp(0, 1) for x, m in zip(inputs, moved, strict=True)]
    return [each.detach() for each in found]


@pytest.mark.parametrize(
    ("weight", "diversity", "attack_diversity"),
    [
        (0.5, 0.0, None),
        (0.3, 0.1, None),
        (0.3, -5.0, 2.0),
        (1.0, 0.1, 0.0),
        (0.0, 0.1, None),
        (0.5, 0.0, 20.0),
    ],
)
def test_the_loss_is_that_of_the_paper(
    weight: float, diversity: float, attack_diversity: float | None
) -> None:
    module = create(
        attack=ATTACK,
        weight=weight,
        diversity_weight=diversity,
        attack_diversity_weight=attack_diversity,
        lr=0.0,
    )
    ensemble = copy.deepcopy(module.ensemble)
    metrics = fit(module).callback_metrics

    inputs, targets = first_batch(ensemble)
    inputs = [each.requires_grad_() for each in inputs]
    expected = torch.tensor(0.0)
    if weight < 1:
        losses, grads = losses_and_gradients(ensemble, inputs, targets)
        expected = expected + (1 - weight) * sum(losses) / 2
    if weight > 0:
        strength = diversity if attack_diversity is None else attack_diversity
        perturbed = independent_attack(ensemble, inputs, targets, strength)
        perturbed = [each.requires_grad_() for each in perturbed]
        losses, grads = losses_and_gradients(ensemble, perturbed, targets)
        expected = expected + weight * sum(losses) / 2
    if diversity:
        found = metrics["train_gradient_diversity"]
        torch.testing.assert_close(
            found, gradient_diversity(grads).detach(), rtol=1e-4, atol=1e-5
        )
        expected = expected + diversity * gradient_diversity(grads)
    else:
        assert "train_gradient_diversity" not in metrics
    torch.testing.assert_close(
        metrics["train_loss"], expected.detach(), rtol=1e-4, atol=1e-5
    )
    # One pass for each task and term: nothing else moves the statistics.
    passes = (weight < 1) + (weight > 0)
    ours, theirs = (each.state_dict() for each in (module.ensemble, ensemble))
    for name in ("rotation", "jigsaw"):
        key = f"tasks.{name}.backbone.layer{{}}.1.num_batches_tracked"
        assert ours[key.format(1)] == 2 * passes
        assert ours[key.format(2)] == passes
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-5)


def test_gradients_of_the_step_are_those_of_the_whole_loss() -> None:
    module = create(
        attack=ATTACK, diversity_weight=3.0, lr=0.5, weight_decay=0.0, warmup=0.0
    )
    ensemble = copy.deepcopy(module.ensemble)
    fit(module)
    inputs, targets = first_batch(ensemble)
    inputs = [each.requires_grad_() for each in inputs]
    clean, _ = losses_and_gradients(ensemble, inputs, targets)
    perturbed = independent_attack(ensemble, inputs, targets, 3.0)
    perturbed = [each.requires_grad_() for each in perturbed]
    robust, grads = losses_and_gradients(ensemble, perturbed, targets)
    loss = (sum(clean) + sum(robust)) / 4 + 3.0 * gradient_diversity(grads)
    names, weights = zip(*ensemble.named_parameters(), strict=True)
    found = dict(module.ensemble.named_parameters())
    for name, weight, step in zip(
        names, weights, torch.autograd.grad(loss, weights), strict=True
    ):
        # The first step of SGD with Nesterov momentum is 1.9 gradients long.
        expected = weight - 0.5 * 1.9 * step
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-4)


class Watch(PretextEnsembleModule):
    """Keep what the attack was given and what it found."""

    def perturb(self, loss: Any, *views: Tensor, **options: Any) -> Any:
        state = {key: value.clone() for key, value in self.state_dict().items()}
        found = super().perturb(loss, *views, **options)
        self.given, self.found = list(views), found
        self.before, self.objective = float(loss(*views)), float(loss(*found))
        after = self.state_dict()
        self.unmoved = all(torch.equal(state[key], after[key]) for key in state)
        return found


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("diversity", [0.0, 1.0])
def test_perturbations_stay_in_the_ball_and_raise_the_objective(
    restarts: int, diversity: float
) -> None:
    torch.manual_seed(SEED)
    attack = PGD(ThreatModel(eps=EPS), steps=3, restarts=restarts)
    module = Watch(
        ("rotation", "jigsaw", "selfie"),
        backbone="resnet8_tiny",
        task_options={**OPTIONS, "selfie": SELFIE},
        attack=attack,
        diversity_weight=diversity,
    )
    fit(module)
    assert len(module.found) == 3
    for given, found in zip(module.given, module.found, strict=True):
        assert not found.requires_grad
        assert 0 < (found - given).abs().max() <= EPS + 1e-6
        assert 0 <= found.min() <= found.max() <= 1
    assert module.objective > module.before
    assert module.unmoved


def diversity_at(module: PretextEnsembleModule, inputs: list[Tensor]) -> float:
    _, targets = first_batch(module.ensemble)
    inputs = [each.detach().requires_grad_() for each in inputs]
    ensemble = module.ensemble.eval()
    losses = ensemble.losses(inputs, targets)
    return ensemble.diversity(losses, inputs, targets).item()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_positive_weight_lets_the_attack_raise_the_diversity(sign: int) -> None:
    module = create(attack=ATTACK, attack_diversity_weight=sign * 1e4)
    inputs, targets = first_batch(module.ensemble)
    module.trainer = pl.Trainer(logger=False)
    perturbed = module._perturbed(inputs, targets, ATTACK)
    change = diversity_at(module, perturbed) - diversity_at(module, inputs)
    assert sign * change > 0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_positive_weight_lets_training_lower_the_diversity(sign: int) -> None:
    module = create(diversity_weight=sign * 100.0, lr=1e-3, warmup=0.0)
    inputs, _ = first_batch(module.ensemble)
    before = diversity_at(copy.deepcopy(module), inputs)
    fit(module, epochs=20)
    assert sign * (diversity_at(module, inputs) - before) < 0


def test_runs_repeat_and_the_questions_depend_on_nothing_but_the_batch() -> None:
    drawn: list[list[Tensor]] = []

    def run(**options: Any) -> dict[str, Tensor]:
        pl.seed_everything(SEED, verbose=False)
        module = create(**options)
        plain = module._draw

        def draw(*arguments: Any) -> Any:
            found = plain(*arguments)
            drawn.append(found[1])
            return found

        module._draw = draw  # type: ignore[assignment, method-assign]
        fit(module, count=2)
        return module.state_dict()

    attack = PGD(ThreatModel(eps=EPS), steps=1)
    first, second = (run(attack=attack, diversity_weight=0.1) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    run()
    thirds = [drawn[start : start + 3] for start in (0, 3, 6)]
    for one, two, three in zip(*thirds, strict=True):
        for a, b, c in zip(one, two, three, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(a, c)


def test_validation_repeats_leaves_no_trace_and_logs_means() -> None:
    module = create(attack=PGD(ThreatModel(eps=0.1), steps=1), diversity_weight=0.1)
    trainer = fit(module)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    watch = RandomState()
    trainer.callbacks.append(watch)  # type: ignore[attr-defined]
    found = [trainer.validate(module, batches(3), verbose=False)[0] for _ in range(2)]
    assert found[0] == found[1]
    for kind in ("val_top1", "val_robust_top1"):
        each = [found[0][f"{kind}/{name}"] for name in ("rotation", "jigsaw")]
        assert found[0][kind] == pytest.approx(sum(each) / 2)
    assert len(found[0]) == 7
    assert "val_loss" in found[0]
    assert watch.unmoved == [True] * 6
    after = module.state_dict()
    assert all(torch.equal(state[key], after[key]) for key in state)


def test_the_optimiser_has_each_parameter_once() -> None:
    module = create()
    trainer = fit(module)
    (group,) = trainer.optimizers[0].param_groups
    identities = [id(each) for each in group["params"]]
    assert len(identities) == len(set(identities)) == len(list(module.parameters()))


def test_it_comes_back_from_its_own_checkpoint(tmp_path: Path) -> None:
    module = create(backbone="resnet8_tiny", attack=ATTACK, diversity_weight=0.1)
    path = tmp_path / "last.ckpt"
    fit(module).save_checkpoint(path)
    restored = PretextEnsembleModule.load_from_checkpoint(path, weights_only=True)
    assert ties(restored.ensemble) == ties(module.ensemble)
    assert restored.diversity_weight == 0.1
    state = module.state_dict()
    assert all(torch.equal(restored.state_dict()[key], state[key]) for key in state)
    assert restored.backbone(torch.rand(2, 3, 8, 8)).shape == (2, 128)


def test_permutations_come_from_the_checkpoint(tmp_path: Path) -> None:
    module = create(task_options={"jigsaw": {"grid": 4}})
    path = tmp_path / "last.ckpt"
    fit(module).save_checkpoint(path)
    other = create(task_options={"jigsaw": {"grid": 4, "seed": 1}})
    old, new = (each.ensemble.tasks["jigsaw"] for each in (module, other))
    assert isinstance(old, JigsawTask)
    assert isinstance(new, JigsawTask)
    assert not torch.equal(old.permutations, new.permutations)
    other.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    assert torch.equal(old.permutations, new.permutations)


def test_each_stream_has_its_own_statistics() -> None:
    module = create(attack=ATTACK, diversity_weight=0.1)
    convert_dual_batchnorm(module.ensemble)
    fit(module)
    counts = {
        key: int(value)
        for key, value in module.state_dict().items()
        if key.endswith("num_batches_tracked")
    }
    assert len(counts) == 8
    for key, count in counts.items():
        assert count == (2 if "layer1" in key else 1), key


def test_a_schedule_grows_the_attack() -> None:
    seen: list[float] = []

    class Spy(PGD):
        def perturb_views(self, *args: Any, **kwargs: Any) -> list[Tensor]:
            seen.append(self.threat_model.eps)
            return super().perturb_views(*args, **kwargs)

    attack = AttackSchedule(Spy(ThreatModel(eps=0.1), steps=1), ramp=1.0)
    fit(create(attack=attack), count=4)
    assert seen == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])


@pytest.mark.parametrize("frame", ["inputs", "images"])
def test_three_tasks_by_names_with_everything(frame: str) -> None:
    module = create_method(
        "pretext_ensemble",
        backbone="resnet8_tiny",
        task_options={**OPTIONS, "selfie": SELFIE},
        attack=ATTACK,
        diversity_weight=0.1,
        frame=frame,
        channels_last=True,
    )
    metrics = fit(module).callback_metrics
    assert -22 < metrics["train_gradient_diversity"] < 1e-3
    for name in ("rotation", "jigsaw", "selfie"):
        for kind in ("train_top1", "train_robust_top1", "val_top1", "val_robust_top1"):
            assert 0 <= metrics[f"{kind}/{name}"] <= 100


def test_half_precision() -> None:
    module = create(backbone="resnet8_tiny", attack=ATTACK, diversity_weight=0.1)
    plain = copy.deepcopy(module)
    found, expected = (
        fit(each, precision=precision).callback_metrics["train_gradient_diversity"]
        for each, precision in ((module, "bf16-mixed"), (plain, "32-true"))
    )
    assert found.item() == pytest.approx(expected.item(), abs=0.02)


def test_no_attack_and_none_in_training() -> None:
    plain = fit(create(diversity_weight=0.1)).callback_metrics
    assert "val_robust_top1" not in plain
    assert "train_gradient_diversity" in plain
    watched = fit(create(val_attack=ATTACK)).callback_metrics
    assert "val_robust_top1" in watched
    assert not [name for name in watched if name.startswith("train_robust")]


@pytest.mark.parametrize("options", [{"attack_diversity_weight": 0.1}, {}])
def test_inputs_of_different_sizes_are_refused(options: dict[str, Any]) -> None:
    tasks = {"one": BrightTask, "other": CroppedTask}
    module = create(
        tasks=tasks, task_options=None, attack=ATTACK, diversity_weight=0.1, **options
    )
    with pytest.raises(ValueError, match=r"gradients .* the shapes .* one image"):
        fit(module)
    fit(create(tasks=tasks, task_options=None, attack=ATTACK))


@pytest.mark.parametrize("weights", [(0.1, None), (0.0, 0.1)])
def test_a_compiled_network_is_refused_before_training(weights: Any) -> None:
    diversity, attack_diversity = weights
    options = {
        "diversity_weight": diversity,
        "attack_diversity_weight": attack_diversity,
    }
    module = create(attack=ATTACK, **options)
    layer = module.backbone.get_submodule("layer1")
    layer._compiled_call_impl = layer._call_impl  # what layer.compile() sets
    with pytest.raises(ValueError, match=r"layer1 is compiled.*weights to 0"):
        fit(module)
    module = create(attack=ATTACK)
    layer = module.backbone.get_submodule("layer1")
    layer._compiled_call_impl = layer._call_impl
    fit(module)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tasks": ["rotation"], "task_options": None}, ValueError, "is no ensemble"),
        ({"diversity_weight": math.nan}, ValueError, "a diversity weight is nan"),
        ({"attack_diversity_weight": math.inf}, ValueError, "weight is inf; expected"),
        ({"frame": "pixels"}, ValueError, "frame='pixels' is unknown"),
        ({"weight": 1.5}, ValueError, r"weight=1.5 must lie in \[0, 1\]"),
        ({"attack": "pgd"}, TypeError, "attack is a str"),
        ({"backbone": nn.Flatten()}, ValueError, "Flatten does not tell its stages"),
        (
            {"task_options": {"jigsaw": {"grid": 1}}},
            ValueError,
            "0 beside the identity",
        ),
    ],
)
def test_bad_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        create(**options)
