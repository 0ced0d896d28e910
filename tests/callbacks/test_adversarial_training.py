from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.attacks import AttackSchedule
from tests import zoo
from tests.zoo import state

IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)
ATTACK = PGD(ThreatModel(eps=0.05), steps=2)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("create", zoo.ZOO)
@pytest.mark.parametrize("bn_mode", ["eval", "batch", "train"])
def test_at_eps_zero_training_is_the_same_bit_for_bit(
    create: Callable[[], pl.LightningModule], bn_mode: Any
) -> None:
    plain = state(*zoo.fit(create, []))
    attacked = state(*zoo.fit(create, [AdversarialTraining(IDENTITY, bn_mode=bn_mode)]))
    assert len(plain.values) > 30
    assert plain.changes(attacked) == []


@pytest.mark.parametrize("create", zoo.ZOO)
def test_resampled_draws_leave_no_trace_either(
    create: Callable[[], pl.LightningModule],
) -> None:
    plain = state(*zoo.fit(create, []))
    attacked = state(*zoo.fit(create, [AdversarialTraining(IDENTITY, rng="resample")]))
    assert plain.changes(attacked) == []


@pytest.mark.parametrize("create", zoo.ZOO)
def test_dual_mode_advances_state_once_and_adds_gradients(
    create: Callable[[], pl.LightningModule],
) -> None:
    # At eps = 0 both streams have the same gradient, whatever the weight.
    plain = zoo.fit(create, [], max_steps=1)
    dual = zoo.fit(
        create, [AdversarialTraining(IDENTITY, mode="dual", weight=0.3)], max_steps=1
    )
    changed = state(*plain).changes(state(*dual))
    for name in changed:
        first, second = (state(*each).values[name] for each in (plain, dual))
        assert torch.allclose(first, second, atol=1e-5), name


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("create", zoo.ZOO)
def test_views_move_inside_the_ball_and_the_loss_rises(
    create: Callable[[], pl.LightningModule], mode: Any, monkeypatch: Any
) -> None:
    seen: list[tuple[list[Tensor], list[Tensor], float, float]] = []
    call = PGD.perturb_views

    def spy(self: PGD, objective: Any, views: Any, **kwargs: Any) -> list[Tensor]:
        found = call(self, objective, views, **kwargs)
        before, after = (float(objective(each).detach()) for each in (views, found))
        seen.append((list(views), found, before, after))
        return found

    monkeypatch.setattr(PGD, "perturb_views", spy)
    zoo.fit(create, [AdversarialTraining(ATTACK, mode=mode)])
    assert len(seen) == 2 * zoo.STEPS
    for clean, found, _, _ in seen:
        for view, moved in zip(clean, found, strict=True):
            assert (moved - view).abs().max() <= 0.05 + 1e-6
            assert moved.min() >= 0
            assert moved.max() <= 1
    assert sum(after > before for *_, before, after in seen) >= len(seen) - 1


def test_dual_loss_is_the_weighted_sum(monkeypatch: Any) -> None:
    class Recording(zoo.Base):
        losses: list[float]

        def __init__(self) -> None:
            super().__init__()
            self.backbone[3] = nn.Identity()

        def on_before_backward(self, loss: Tensor) -> None:
            self.losses = [*getattr(self, "losses", []), float(loss)]

    module, _ = zoo.fit(
        Recording,
        [AdversarialTraining(ATTACK, mode="dual", weight=0.25)],
        max_steps=1,
    )
    # The same by hand, on the same noise.
    pl.seed_everything(0, verbose=False)
    again = Recording()
    pl.seed_everything(1, verbose=False)
    first, second = next(iter(zoo.batches()))[0]
    from lightly_adv.isolation import rng

    def loss(views: Any) -> Tensor:
        value: Tensor = again.criterion(again(views[0]), again(views[1]))
        return value

    adversarial = ATTACK(
        loss, [first, second], generator=rng.batch_generator(1, 0, 0, 0)
    )
    expected = 0.75 * loss([first, second]) + 0.25 * loss(adversarial)
    assert isinstance(module, Recording)
    assert module.losses == [pytest.approx(float(expected), rel=1e-5)]


def test_runs_repeat_and_the_seed_matters() -> None:
    def run(seed: int) -> Tensor:
        class Seeded(AdversarialTraining):
            def on_fit_start(self, *_: Any) -> None:
                pl.seed_everything(seed, verbose=False)

        module, _ = zoo.fit(zoo.Base, [Seeded(ATTACK)])
        return torch.cat([each.flatten() for each in module.parameters()]).detach()

    assert torch.equal(run(5), run(5))
    assert not torch.equal(run(5), run(6))


def test_the_training_step_is_given_back() -> None:
    module, _ = zoo.fit(zoo.Base, [AdversarialTraining(ATTACK)])
    assert "training_step" not in vars(module)


def test_state_dict_keys_stay() -> None:
    module, _ = zoo.fit(zoo.Base, [AdversarialTraining(ATTACK)])
    assert list(module.state_dict()) == list(zoo.Base().state_dict())


class Failing(zoo.Base):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1:
            raise RuntimeError("the step failed")
        return super().training_step(batch, batch_idx)


def test_after_an_error_the_module_is_whole() -> None:
    pl.seed_everything(0, verbose=False)
    module = Failing()
    parameters = dict(module.named_parameters())
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[AdversarialTraining(ATTACK)],
    )
    with pytest.raises(RuntimeError, match="the step failed"):
        trainer.fit(module, zoo.batches())
    assert "training_step" not in vars(module)
    assert "log" not in vars(module)
    for name, parameter in module.named_parameters():
        assert parameter is parameters[name]
        assert parameter.requires_grad


class Skipping(zoo.Base):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx % 2:
            return None
        return super().training_step(batch, batch_idx)


def test_a_step_that_skips_a_batch_skips_its_attack() -> None:
    plain = state(*zoo.fit(Skipping, []))
    assert (
        plain.changes(state(*zoo.fit(Skipping, [AdversarialTraining(IDENTITY)]))) == []
    )


@pytest.mark.parametrize(
    "options",
    [{"accumulate_grad_batches": 2}, {"fast_dev_run": True}, {"overfit_batches": 1}],
)
def test_options_of_the_trainer_hold(options: dict[str, Any]) -> None:
    plain = state(*zoo.fit(zoo.Momentum, [], **options))
    attacked = zoo.fit(zoo.Momentum, [AdversarialTraining(IDENTITY)], **options)
    assert plain.changes(state(*attacked)) == []


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize(
    ("options", "batches", "steps"),
    [
        ({"accumulate_grad_batches": 2}, 2 * zoo.STEPS, zoo.STEPS),
        ({"fast_dev_run": True}, 1, 1),
        ({"overfit_batches": 1}, 2, 2),
    ],
)
def test_each_batch_is_attacked_once(
    mode: Any, options: dict[str, Any], batches: int, steps: int, monkeypatch: Any
) -> None:
    seen: list[int] = []
    call = PGD.perturb_views

    def spy(self: PGD, *args: Any, **kwargs: Any) -> list[Tensor]:
        seen.append(len(args[1]))
        return call(self, *args, **kwargs)

    monkeypatch.setattr(PGD, "perturb_views", spy)
    callback = AdversarialTraining(ATTACK, mode=mode)
    _, trainer = zoo.fit(zoo.Base, [callback], **options)
    assert seen == [2] * batches
    assert trainer.global_step == steps


def test_a_schedule_follows_the_training(monkeypatch: Any) -> None:
    seen: list[float] = []
    call = PGD.perturb_views

    def spy(self: PGD, *args: Any, **kwargs: Any) -> list[Tensor]:
        seen.append(self.threat_model.eps)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(PGD, "perturb_views", spy)
    zoo.fit(zoo.Base, [AdversarialTraining(AttackSchedule(ATTACK, ramp=0.5))])
    expected = [0.0, 0.0125, 0.025, 0.0375, 0.05, 0.05, 0.05, 0.05]
    assert seen == pytest.approx(expected)


class Stream(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zoo.batches().dataset)


STREAM: Any = torch.utils.data.DataLoader(Stream(), batch_size=None)


@pytest.mark.parametrize(
    ("data", "epochs", "said"), [(None, -1, "inf steps"), (STREAM, 2, "-1 steps")]
)
@pytest.mark.parametrize("ramp", [0.0, 0.5])
def test_a_schedule_without_an_end_is_refused_before_the_first_step(
    data: Any, epochs: int, said: str, ramp: float
) -> None:
    steps: list[int] = []

    class Counting(zoo.Base):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            steps.append(batch_idx)
            return super().training_step(batch, batch_idx)

    callback = AdversarialTraining(AttackSchedule(ATTACK, ramp=ramp))
    with pytest.raises(ValueError, match=rf"{said}.*max_steps"):
        zoo.fit(Counting, [callback], data=data, max_epochs=epochs)
    assert steps == []
    zoo.fit(Counting, [callback], data=data, max_epochs=epochs, max_steps=2)
    assert steps


def test_an_attack_that_does_not_grow_needs_no_end() -> None:
    zoo.fit(zoo.Base, [AdversarialTraining(ATTACK)], data=STREAM)


class WithoutDropout(zoo.Base):
    """Remembers its losses, of attacks, too."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone[3] = nn.Identity()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        LOSSES.append(float(loss))
        return loss


LOSSES: list[float] = []


def test_by_default_the_loss_that_is_trained_is_attacked() -> None:
    LOSSES.clear()
    zoo.fit(WithoutDropout, [AdversarialTraining(IDENTITY)], max_steps=1)
    assert len(LOSSES) > 2
    assert pytest.approx(len(LOSSES) * [LOSSES[-1]], rel=1e-6) == LOSSES
    LOSSES.clear()
    zoo.fit(
        WithoutDropout, [AdversarialTraining(IDENTITY, bn_mode="eval")], max_steps=1
    )
    assert LOSSES[0] != pytest.approx(LOSSES[-1], rel=1e-3)


class Masked(zoo.Base):
    """Masks in training only, as methods with a decoder do; reads its own keys."""

    def masked(self, images: Tensor) -> dict[str, Tensor]:
        if not self.training:
            return {"features": self(images)}
        kept = torch.rand(len(images), 1, 8, 8) < 0.5
        return {"features": self(images), "masked": self(images * kept)}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = (self.masked(view) for view in batch[0])
        return self.criterion(first["masked"], second["features"])


@pytest.mark.parametrize("bn_mode", ["eval", "batch", "train"])
def test_the_branch_that_is_trained_is_attacked(bn_mode: Any) -> None:
    plain = state(*zoo.fit(Masked, []))
    attacked = state(*zoo.fit(Masked, [AdversarialTraining(IDENTITY, bn_mode=bn_mode)]))
    assert plain.changes(attacked) == []


def test_precision_reaches_the_attack() -> None:
    seen: list[bool] = []

    class Watching(zoo.Base):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(images)

    zoo.fit(Watching, [AdversarialTraining(ATTACK)], precision="bf16-mixed")
    assert seen
    assert all(seen)


OUTSIDE = {"count": 0}
"""State that is not in a module."""


class Leaking(zoo.Base):
    def __init__(self) -> None:
        super().__init__()
        OUTSIDE["count"] = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        OUTSIDE["count"] += 1
        return super().training_step(batch, batch_idx) * OUTSIDE["count"]


@pytest.mark.filterwarnings("default")
def test_the_first_batch_shows_what_leaks_and_what_moves() -> None:
    moving = r"depends on something besides the views"
    leaking = r"cannot be set aside: the global OUTSIDE\['count'\]"
    with pytest.warns(UserWarning, match=moving), pytest.warns(match=leaking):
        zoo.fit(Leaking, [AdversarialTraining(ATTACK)], max_steps=1)


# One more in either case, to tell which views receive a gradient.
@pytest.mark.parametrize(("verify", "extra"), [("first_batch", 3), ("off", 1)])
def test_verification_can_be_switched_off(verify: Any, extra: int) -> None:
    callback = AdversarialTraining(ATTACK, verify=verify)
    module, _ = zoo.fit(Leaking, [callback], max_steps=1)
    assert isinstance(module, Leaking)
    assert OUTSIDE["count"] == ATTACK.evaluations + 1 + extra


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"attack": 8 / 255}, TypeError, r"attack is a float; expected an attack"),
        ({"mode": "both"}, ValueError, r"mode='both' is unknown; use one of"),
        ({"bn_mode": "test"}, ValueError, r"bn_mode='test' is unknown"),
        ({"rng": "none"}, ValueError, r"rng='none' is unknown"),
        ({"verify": True}, ValueError, r"verify=True is unknown"),
        ({"weight": -0.5}, ValueError, r"weight=-0.5 must lie in \[0, 1\]"),
        ({"weight": float("nan")}, ValueError, r"weight=nan must lie in \[0, 1\]"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        AdversarialTraining(**{"attack": ATTACK, **arguments})


def test_normalised_views_are_refused_with_the_remedy() -> None:
    class Normalised(zoo.Base):
        def on_before_batch_transfer(self, batch: Any, _: int) -> Any:
            return [[4 * view - 2 for view in batch[0]], *batch[1:]]

    with pytest.raises(ValueError, match=r"the views look normalised; pass normalize="):
        zoo.fit(Normalised, [AdversarialTraining(ATTACK)])
