"""Every method that Lightly documents, unchanged, under adversarial training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.functional import pixels
from lightly_adv.isolation import leaks
from lightly_adv.training.step_objective import StepObjective
from tests import methods_zoo, zoo
from tests.methods_zoo.method import LARGE, NORMALIZE, SMALL, Method, loader

EPS = 8 / 255
STEPS = 2
"""Batches per epoch; there are two epochs."""

HALF_SEEN = ("SimSiam",)
"""The attack sees one branch of the loss, which need not rise at once as a whole."""

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.parametrize("method", methods_zoo.METHODS, ids=lambda each: each.name),
]


def attack(eps: float) -> PGD:
    threat_model = ThreatModel(eps=eps, normalize=NORMALIZE)
    return PGD(threat_model, steps=2, step_size=eps / 2)


def fit(method: Method, *callbacks: pl.Callback, precision: Any = 32) -> leaks.Snapshot:
    """Train, and return everything that training leaves behind."""
    data = loader(method, steps=STEPS)
    return zoo.state(
        *zoo.fit(method.create, list(callbacks), data=data, precision=precision)
    )


@functools.cache
def plain(method: Method) -> leaks.Snapshot:
    return fit(method)


def test_replace_at_eps_zero_is_the_same_run_bit_for_bit(method: Method) -> None:
    attacked = fit(method, AdversarialTraining(attack(0.0)))
    assert len(plain(method).values) > 30
    assert plain(method).changes(attacked) == []


def test_dual_at_eps_zero_adds_gradients_and_nothing_else(method: Method) -> None:
    # Both streams have the same gradient then, whatever the weight.
    one, two = zoo.SameSteps(), zoo.SameSteps()
    dual = AdversarialTraining(attack(0.0), mode="dual", weight=0.3)
    alone = fit(method, one, precision=64)
    both = fit(method, dual, two, precision=64)
    assert alone.changes(both) == []
    assert one.gradients.keys() == two.gradients.keys()
    largest = max(float(each.abs().max()) for each in one.gradients.values())
    for name, first in one.gradients.items():
        difference = float((first - two.gradients[name]).abs().max())
        assert difference <= 1e-9 * largest, name


class Attacked(NamedTuple):
    """What one run of the attack was given, and what it made of it."""

    clean: list[Tensor]
    found: list[Tensor]
    before: float
    after: float


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> list[Attacked]:
    seen: list[Attacked] = []
    call = PGD.perturb_views

    def spy(
        self: PGD, objective: StepObjective, views: Any, **kwargs: Any
    ) -> list[Tensor]:
        found = call(self, objective, views, **kwargs)
        losses = [float(objective(each).detach()) for each in (views, found)]
        seen.append(Attacked(list(views), found, *losses))
        return found

    monkeypatch.setattr(PGD, "perturb_views", spy)
    return seen


class Watch(pl.Callback):
    """Note everything but images that the training step is given."""

    def __init__(self) -> None:
        self.others: list[list[Any]] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        inner: Callable[..., Any] = pl_module.training_step

        def training_step(batch: Any, batch_idx: int) -> Any:
            leaves = pytree.tree_leaves(batch)
            self.others.append([each for each in leaves if not is_image(each)])
            return inner(batch, batch_idx)

        pl_module.training_step = training_step


def is_image(leaf: Any) -> bool:
    """Images are all that the replicas draw with a size of a crop."""
    shape = tuple(getattr(leaf, "shape", ()))
    return any(shape[1:] == (3, size, size) for size in (LARGE, SMALL))


@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_views_move_inside_the_ball_and_the_loss_rises(
    method: Method, mode: Any, attacks: list[Attacked]
) -> None:
    watch = Watch()
    fit(method, watch, AdversarialTraining(attack(EPS), mode=mode))
    assert len(attacks) == 2 * STEPS
    rise = sum(each.after - each.before for each in attacks)
    assert rise > 0 or method.name in HALF_SEEN
    for at, each in enumerate(attacks):
        moved = [
            index
            for index, views in enumerate(zip(each.clean, each.found, strict=True))
            if moves(*views)
        ]
        assert tuple(moved) == method.reached[at % len(method.reached)]
    batches = [pytree.tree_leaves(each) for each in loader(method, steps=STEPS)]
    others = [[each for each in leaves if not is_image(each)] for leaves in batches]
    images = [sum(map(is_image, leaves)) for leaves in batches]
    assert [len(each.clean) for each in attacks] == 2 * images
    for seen in watch.others:
        assert any(same(seen, each) for each in others)


def moves(clean: Tensor, found: Tensor) -> bool:
    """Whether a view moved; if so, that it moved inside the ball and the bounds."""
    before, after = (pixels.to_pixels(x, NORMALIZE) for x in (clean, found))
    assert (after - before).abs().max() <= EPS + 1e-6
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6
    return not torch.equal(clean, found)


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one, two) if isinstance(one, Tensor) else one == two
        for one, two in zip(first, second, strict=True)
    )
