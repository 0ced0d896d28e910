from __future__ import annotations

import dataclasses
import math
import random
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import FGSM, PGD, ThreatModel, create_attack, list_attacks
from lightly_adv.attacks import Attack, is_attack, load_attack
from lightly_adv.testing import NORMALIZE, AttackTester
from lightly_adv.types import Objective


@pytest.mark.parametrize("check", AttackTester.checks())
@pytest.mark.parametrize("name", list_attacks())
def test_every_registered_attack_passes_the_table(name: str, check: str) -> None:
    few = {"apgd": 10, "apgd-t": 10, "square": 30}
    options = {"steps": few[name]} if name in few else {}
    tester = AttackTester(
        lambda each: create_attack(name, threat_model=each, **options),
        norms=load_attack(name).norms,  # type: ignore[attr-defined]
        classifies=name in ("apgd-t", "square"),
    )
    tester.run(check)


@pytest.mark.parametrize("check", AttackTester.checks())
def test_restarts_pass_the_table(check: str) -> None:
    AttackTester(lambda each: PGD(each, steps=2, restarts=2)).run(check)


def test_the_table_finds_a_broken_attack() -> None:
    @dataclasses.dataclass(frozen=True)
    class Loose(Attack):
        def perturb_views(
            self,
            objective: Objective,
            views: Sequence[Tensor],
            *,
            generator: Any = None,
        ) -> list[Tensor]:
            return [view + 2 * self.threat_model.eps for view in views]

    tester = AttackTester(Loose)
    with pytest.raises(AssertionError, match=r"under Linf, the attack moved by 0.06"):
        tester.run("check_ball_and_range")
    with pytest.raises(AssertionError, match=r"moved an unused view"):
        tester.run("check_unused_view")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("normalize", [None, NORMALIZE])
def test_pgd_is_the_plain_loop_bit_for_bit(normalize: Any) -> None:
    model = network()
    pixels = torch.rand(4, 3, 4, 4)
    labels = torch.tensor([0, 1, 2, 0])
    stats = normalize or {"mean": [0.0] * 3, "std": [1.0] * 3}
    mean = torch.tensor(stats["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(stats["std"]).view(1, 3, 1, 1)
    view = (pixels - mean) / std
    eps, step = 8 / 255, 2 / 255

    # Written from the paper, in pixels, with the noise that the attack draws.
    noise = torch.rand(view.shape, generator=torch.Generator().manual_seed(3))
    lower, upper = 0 - (view * std + mean), 1 - (view * std + mean)
    delta = (noise * (2 * eps) - eps).clamp(-eps, eps)
    delta = delta.clamp(lower, upper)
    for _ in range(5):
        x = (view + delta / std).requires_grad_()
        loss = nn.functional.cross_entropy(model(x), labels)
        (grad,) = torch.autograd.grad(loss, x)
        delta = (delta + step * (grad / std).sign()).clamp(-eps, eps)
        delta = delta.clamp(lower, upper)
    expected = view + delta / std

    attack = PGD(ThreatModel(eps=eps, normalize=normalize), steps=5, step_size=step)
    found = attack(
        lambda views: nn.functional.cross_entropy(model(views[0]), labels),
        [view],
        generator=torch.Generator().manual_seed(3),
    )[0]
    assert torch.equal(found, expected)


def test_fgsm_is_the_sign_of_the_gradient() -> None:
    model = network()
    view = torch.rand(4, 3, 4, 4) * 0.5 + 0.25
    leaf = view.clone().requires_grad_()
    (grad,) = torch.autograd.grad(model(leaf).square().mean(), leaf)
    found = FGSM(ThreatModel(eps=0.1))(lambda v: model(v[0]).square().mean(), [view])
    assert torch.equal(found[0], view + 0.1 * grad.sign())


def test_gradients_are_those_of_finite_differences() -> None:
    model = network().double()
    view = torch.rand(1, 3, 4, 4, dtype=torch.float64) * 0.5 + 0.25
    seen: list[Tensor] = []

    @dataclasses.dataclass(frozen=True)
    class Recording(Attack):
        def update(self, delta: Tensor, grad: Tensor, box: Any, memory: Any) -> Tensor:
            seen.append(grad)
            return delta

    def objective(views: Sequence[Tensor]) -> Tensor:
        loss: Tensor = model(views[0]).square().sum()
        return loss

    attack = Recording(ThreatModel(eps=0.1), steps=1, random_start=False)
    attack(objective, [view])
    for at in range(0, 48, 5):
        shift = torch.zeros(48, dtype=torch.float64)
        shift[at] = 1e-6
        up, down = (objective([view + s * shift.view(1, 3, 4, 4)]) for s in (1, -1))
        assert seen[0].flatten()[at].item() == pytest.approx(
            ((up - down) / 2e-6).item(), rel=1e-6, abs=1e-9
        )


def test_the_loss_rises_on_a_network() -> None:
    model = network()
    view, labels = torch.rand(8, 3, 4, 4), torch.arange(8) % 3

    def objective(views: Sequence[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(views[0]), labels, reduction="none")

    found = PGD(ThreatModel(eps=0.1))(objective, [view])
    assert (objective(found) > objective([view])).all()


def test_restarts_keep_the_worst_per_sample() -> None:
    # A loss with many local maxima, where a single start gets stuck.
    def objective(views: Sequence[Tensor]) -> Tensor:
        return (views[0] * 400).sin().flatten(1).sum(1)

    view = torch.rand(16, 3, 4, 4)
    threat_model = ThreatModel(eps=0.1)
    once = PGD(threat_model, steps=2)
    many = PGD(threat_model, steps=2, restarts=5)
    generator = torch.Generator().manual_seed(0)
    singles = torch.stack(
        [objective(once(objective, [view], generator=generator)) for _ in range(5)]
    )
    worst = objective(many(objective, [view], generator=generator.manual_seed(0)))
    assert torch.equal(worst, singles.max(0).values)
    assert (singles.max(0).values > singles[0]).any()


def test_restarts_keep_the_worst_batch_where_the_loss_is_one_number() -> None:
    def objective(views: Sequence[Tensor]) -> Tensor:
        return (views[0] * 400).sin().sum()

    view = torch.rand(4, 3, 4, 4)
    generator = torch.Generator().manual_seed(0)
    once = PGD(ThreatModel(eps=0.1), steps=2)
    singles = [
        objective(once(objective, [view], generator=generator)) for _ in range(3)
    ]
    many = dataclasses.replace(once, restarts=3)
    worst = objective(many(objective, [view], generator=generator.manual_seed(0)))
    assert worst == max(singles)
    assert many.evaluations == 9


def test_evaluations_are_counted_truly() -> None:
    for attack in (
        PGD(ThreatModel(), steps=3),
        PGD(ThreatModel(), steps=3, restarts=2),
        FGSM(ThreatModel()),
        PGD(ThreatModel(eps=0.0), steps=3),
    ):
        calls = []

        def objective(views: Sequence[Tensor]) -> Tensor:
            calls.append(1)  # noqa: B023
            return views[0].square().sum()

        attack(objective, [torch.rand(2, 3, 4, 4)])
        assert len(calls) == attack.evaluations


def test_an_unused_partner_is_clean_from_the_first_gradient_on() -> None:
    # With its noise in the first step, the result would be that of another problem.
    target = torch.rand(2, 3, 4, 4)
    seen = []

    def objective(views: Sequence[Tensor]) -> Tensor:
        seen.append(views[1].detach().clone())
        return (views[0] * views[1].detach()).sum()

    attack = PGD(ThreatModel(eps=0.1), steps=2)
    with pytest.warns(UserWarning, match=r"does not depend on the views \[1\]"):
        found = attack(objective, [torch.rand(2, 3, 4, 4), target])
    assert torch.equal(found[1], target)
    assert all(torch.equal(each, target) for each in seen[1:])


def test_views_are_perturbed_jointly() -> None:
    def objective(views: Sequence[Tensor]) -> Tensor:
        return -(views[0] * views[1]).sum()

    first, second = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 0.6)
    found = PGD(ThreatModel(eps=0.1), steps=10)(objective, [first, second])
    assert torch.allclose(found[0], first - 0.1)
    assert torch.allclose(found[1], second - 0.1)


def test_small_gradients_survive_fp16_autocast() -> None:
    model = nn.Linear(48, 1, bias=False)
    view = torch.full((2, 3, 4, 4), 0.5)

    def objective(views: Sequence[Tensor]) -> Tensor:
        with torch.autocast("cpu", dtype=torch.float16):
            loss: Tensor = model(views[0].flatten(1)).float().mean() * 1e-6
            return loss

    attack = FGSM(ThreatModel(eps=0.1))
    plain = attack(objective, [view])[0]
    with torch.autocast("cpu", dtype=torch.float16):
        scaled = attack(objective, [view])[0]
    expected = view + 0.1 * model.weight.detach().sign().view(1, 3, 4, 4)
    assert not torch.allclose(plain, expected)
    assert torch.allclose(scaled, expected)


def test_noise_without_generator_repeats_and_draws_nothing() -> None:
    def run(view: Tensor) -> Tensor:
        return PGD(ThreatModel(eps=0.1), steps=1)(lambda v: v[0].sum() * 0, [view])[0]

    view = torch.rand(2, 3, 4, 4)
    torch.manual_seed(1)
    state, python = torch.get_rng_state(), random.getstate()
    first, again, other = run(view), run(view), run(view * 0.9) / 0.9
    assert torch.equal(first, again)
    assert not torch.allclose(first - view, other - view, atol=1e-3)
    assert torch.equal(state, torch.get_rng_state())
    assert python == random.getstate()
    torch.manual_seed(2)
    assert not torch.equal(run(view), first)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, r"steps=0 is too small; expected at least 1"),
        ({"steps": 2.5}, TypeError, r"steps=2.5 is not an integer"),
        ({"restarts": 0}, ValueError, r"restarts=0 is too small"),
        ({"step_size": -0.1}, ValueError, r"step_size=-0.1 must be finite"),
        ({"step_size": math.nan}, ValueError, r"step_size=nan must be finite"),
        ({"step_size": "1"}, TypeError, r"step_size='1' is a str; expected a number"),
        ({"step_size": 2}, ValueError, r"did you mean step_size=2 / 255"),
        ({"threat_model": 0.03}, TypeError, r"threat_model is a float; expected"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PGD(**{"threat_model": ThreatModel(), **arguments})


def detached(views: Sequence[Tensor]) -> Tensor:
    return views[0].detach().sum()


def independent(views: Sequence[Tensor]) -> Tensor:
    return torch.ones((), requires_grad=True) * 2


def not_a_number(views: Sequence[Tensor]) -> Tensor:
    return views[0].sum() * math.nan


def vector(views: Sequence[Tensor]) -> Tensor:
    return views[0].flatten(1)[:, :5]


def number(views: Sequence[Tensor]) -> Tensor:
    return 1.0  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("objective", "error", "message"),
    [
        (detached, ValueError, r"does not depend on any of the views"),
        (independent, ValueError, r"does not depend on any of the views"),
        (not_a_number, ValueError, r"the objective is NaN"),
        (
            vector,
            ValueError,
            r"returned shape \(2, 5\); expected a scalar or one value",
        ),
        (number, TypeError, r"the objective returned a float; expected a tensor"),
    ],
)
def test_bad_objectives_are_refused(
    objective: Objective, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PGD(ThreatModel(), steps=1)(objective, [torch.rand(2, 3, 4, 4)])


def test_a_nan_gradient_is_not_passed_on() -> None:
    def objective(views: Sequence[Tensor]) -> Tensor:
        return (views[0] - views[0].detach()).abs().sqrt().sum()

    with pytest.raises(ValueError, match=r"gradient of the objective is NaN"):
        PGD(ThreatModel(), steps=1)(objective, [torch.rand(2, 3, 4, 4)])


@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        (None, TypeError, r"views is a NoneType; expected a tensor"),
        ([], ValueError, r"views is empty"),
        ([[1.0]], TypeError, r"a view is a list; expected a tensor"),
        (
            [torch.zeros(2, 3, 4, 4, dtype=torch.uint8)],
            TypeError,
            r"dtype torch.uint8; expected a floating dtype",
        ),
    ],
)
def test_bad_views_are_refused(
    views: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PGD(ThreatModel())(lambda given: given[0].sum(), views)


def test_unknown_names_list_the_near_ones() -> None:
    assert is_attack("pgd")
    with pytest.raises(ValueError, match=r"Unknown attack 'pdg'. Did you mean 'pgd'"):
        create_attack("pdg", threat_model=ThreatModel())


def test_attacks_are_values() -> None:
    attack = PGD(ThreatModel(eps=0.1), steps=3)
    assert attack == PGD(ThreatModel(eps=0.1), steps=3)
    assert "eps=0.1" in repr(attack)
    assert attack.at(0.3) is attack
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(dataclasses.FrozenInstanceError):
            attack.steps = 4  # type: ignore[misc]
