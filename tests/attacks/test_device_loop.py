"""The loop of attacks, as a device sees it: nothing waits, little is computed and kept.

No device is needed: reads of values and operations are counted as the dispatcher sees
them, and tensors without data stand for those of another device.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from lightly_adv import APGD, FGSM, PGD, ThreatModel
from lightly_adv.attacks import Attack
from lightly_adv.errors import NotFiniteError, OutOfRangeError
from lightly_adv.types import Norm, NormalizeStats, Objective
from tests.dispatch import Devices, Operations, reads

STATS: NormalizeStats = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
EPS: dict[Norm, float] = {"Linf": 8 / 255, "L2": 0.5, "L1": 5.0}
SHAPE = (2, 3, 8, 8)


def attacks() -> list[Attack]:
    found: list[Attack] = []
    for norm, eps in EPS.items():
        for normalize in (None, STATS):
            model = ThreatModel(norm=norm, eps=eps, normalize=normalize)
            found += [PGD(model, steps=3), PGD(model, steps=2, restarts=3), FGSM(model)]
            if norm != "L1":
                found += [APGD(model, steps=5), APGD(model, steps=3, restarts=2)]
    return found


ATTACKS = attacks()


def name(attack: Attack) -> str:
    model = attack.threat_model
    normalised = " normalised" if model.normalize else ""
    kind = type(attack).__name__
    return f"{kind} {model.norm}{normalised} x{attack.steps} x{attack.restarts}"


def weights(like: Tensor) -> Tensor:
    count = like[0].numel()
    ramp = torch.arange(count, device=like.device, dtype=torch.float32)
    return ramp.div_(count).view(like.shape[1:])


def scalar(views: Sequence[Tensor]) -> Tensor:
    return torch.stack([(x * weights(x)).square().sum() for x in views]).sum()


def per_sample(views: Sequence[Tensor]) -> Tensor:
    losses = [(x * weights(x)).square().flatten(1).sum(1) for x in views]
    return torch.stack(losses).sum(0)


def some_views(count: int = 2) -> list[Tensor]:
    return [torch.rand(SHAPE) * 0.5 for _ in range(count)]


@pytest.mark.parametrize("objective", [scalar, per_sample])
@pytest.mark.parametrize("attack", ATTACKS, ids=name)
def test_a_batch_is_read_from_once(attack: Attack, objective: Objective) -> None:
    with reads() as counted:
        attack(objective, some_views(), generator=torch.Generator())
    assert counted.count == 1, counted.places


def test_reads_are_counted() -> None:
    def waits(views: Sequence[Tensor]) -> Tensor:
        loss = scalar(views)
        return loss * 2 if loss > 0 else loss

    with reads() as counted:
        PGD(ThreatModel(), steps=3)(waits, some_views(), generator=torch.Generator())
    assert counted.count == 4


def steps_cost(threat_model: ThreatModel, *, losses: int) -> int:
    """Return how many operations a step costs besides the network."""
    operations = Operations()

    class Network(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, images: Tensor) -> Tensor:
            with operations.paused():
                ctx.save_for_backward(images)
                found: Tensor = images.square().flatten(1).sum(1)[:losses].clone()
                return found

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            with operations.paused():
                images: Tensor = ctx.saved_tensors[0]
                return 2 * images

    def objective(views: Sequence[Tensor]) -> Tensor:
        found: Tensor = Network.apply(views[0])
        return found if losses > 1 else found[0]

    def cost(steps: int) -> int:
        operations.counts.clear()
        with operations:
            PGD(threat_model, steps=steps)(
                objective, some_views(1), generator=torch.Generator()
            )
        return operations.counts.total()

    per_step = cost(4) - cost(3)
    assert per_step == cost(5) - cost(4)
    # Picking the scalar is ours here, and not that of the attack.
    return per_step if losses > 1 else per_step - 1


@pytest.mark.parametrize("losses", [1, 2])
@pytest.mark.parametrize("normalize", [None, STATS])
def test_a_step_takes_few_operations(normalize: Any, losses: int) -> None:
    assert steps_cost(ThreatModel(normalize=normalize), losses=losses) <= 11


@pytest.mark.parametrize("normalize", [None, STATS])
def test_three_copies_of_the_views_are_kept(normalize: Any) -> None:
    view = torch.rand(4, 3, 64, 64)
    size = view.numel() * view.element_size()

    def network(images: Tensor) -> Tensor:
        # Keeps six copies of its input until the backward pass.
        for _ in range(6):
            images = images.sin()
        return images.sum()

    def peak(run: Any) -> float:
        run()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            run()
        at = most = 0
        for event in seen.profiler.kineto_results.events():
            if event.name() == "[memory]":
                at += event.nbytes()
                most = max(most, at)
        return most / size

    def bare() -> None:
        leaf = view.clone().requires_grad_()
        torch.autograd.grad(network(leaf), leaf)

    attack = PGD(ThreatModel(normalize=normalize, eps=0.1), steps=3)
    clean = (view - 0.5) / 0.25 if normalize else view

    def attacked() -> None:
        attack(lambda views: network(views[0]), [clean], generator=torch.Generator())

    if normalize:
        attack = PGD(
            ThreatModel(normalize={"mean": [0.5] * 3, "std": [0.25] * 3}), steps=3
        )
    alone, together = peak(bare), peak(attacked)
    assert alone > 6
    assert together - alone <= 3.05


@pytest.mark.parametrize("attack", ATTACKS, ids=name)
def test_nothing_of_another_device_is_mixed_in(attack: Attack) -> None:
    """Tensors without data stand for those of a GPU; noise alone may come from here."""
    views = [torch.empty(SHAPE, device="meta") for _ in range(2)]
    with Devices() as seen, pytest.raises(NotImplementedError, match="no data"):
        attack(scalar, views, generator=torch.Generator())
    # All steps were queued when the one read came, to which there is no answer.
    assert seen.mixed == []
    runs = attack.steps + isinstance(attack, APGD)
    assert seen.gradients == attack.restarts * runs
    assert set(seen.drawn) <= {"cpu"}
    assert bool(seen.drawn) == attack.random_start


def test_mixed_devices_are_found() -> None:
    def mixed(views: Sequence[Tensor]) -> Tensor:
        views[0].detach().clone().mul_(torch.rand(SHAPE))  # which PyTorch lets pass
        return scalar([views[0] + torch.rand(SHAPE)])

    views = [torch.empty(SHAPE, device="meta")]
    with Devices() as seen, pytest.raises(RuntimeError, match="device"):
        FGSM(ThreatModel())(mixed, views, generator=torch.Generator())
    assert "aten::mul_" in seen.mixed


@pytest.mark.parametrize("attack", ATTACKS, ids=name)
def test_deterministic_algorithms_suffice(attack: Attack) -> None:
    views = some_views()
    expected = attack(scalar, views, generator=torch.Generator().manual_seed(0))
    torch.use_deterministic_algorithms(True)
    try:
        found = attack(scalar, views, generator=torch.Generator().manual_seed(0))
    finally:
        torch.use_deterministic_algorithms(False)
    for first, second in zip(expected, found, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("view", "error", "message"),
    [
        (torch.rand(SHAPE) * 255, OutOfRangeError, r"look like 0..255"),
        (torch.full(SHAPE, torch.nan), NotFiniteError, r"hold NaN"),
    ],
)
@pytest.mark.parametrize("attack", ATTACKS[:5], ids=name)
def test_the_range_is_judged_although_it_is_read_last(
    attack: Attack, view: Tensor, error: type[Exception], message: str
) -> None:
    attack = type(attack)(ThreatModel(norm=attack.threat_model.norm, eps=0.03))
    with pytest.raises(error, match=message):
        attack(scalar, [view])


def test_a_nested_attack_tells_of_itself() -> None:
    told: list[str] = []

    def outer(views: Sequence[Tensor]) -> Tensor:
        try:
            PGD(ThreatModel(), steps=1)(scalar, [views[0].detach() * 255])
        except OutOfRangeError as error:
            told.append(str(error))
        return scalar(views)

    PGD(ThreatModel(), steps=2)(outer, some_views(1))
    assert len(told) == 2


def test_warnings_point_at_the_line_that_attacks() -> None:
    view = torch.rand(SHAPE)
    view[0, 0, 0, 0] = 1.05

    def attack(views: list[Tensor]) -> None:
        PGD(ThreatModel(), steps=1)(lambda given: scalar(given[:1]), views)

    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        attack([view, torch.rand(SHAPE)])
    assert [str(each.message).split()[3] for each in record] == ["not", "the"]
    assert {each.filename for each in record} == {__file__}
