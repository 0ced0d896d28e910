"""Modules of every make, attacked by a plain loop and by the package: no difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from lightly_adv.attacks import PGD, Attack, ClassificationObjective
from lightly_adv.evaluation import Suite, evaluate_robustness
from lightly_adv.threat_model import ThreatModel
from lightly_adv.training import perturb

STEPS, EPS = 5, 4 / 255
ATTACK = PGD(ThreatModel(eps=EPS), steps=STEPS, random_start=False)


class OwnSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        found: Tensor = x * torch.sigmoid(x)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        found: Tensor = grads[0] * s * (1 + x * (1 - s))
        return found


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Named(Tensor):
    """A subclass that does not look into what it is called with."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def checkpointed(x: Tensor) -> Tensor:
    found: Tensor = checkpoint(F.silu, x, use_reentrant=False)
    return found


def mapped(x: Tensor) -> Tensor:
    return torch.vmap(F.silu)(x)


def subclassed(x: Tensor) -> Tensor:
    return F.silu(x.as_subclass(Named)).as_subclass(Tensor)


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def aliased(x: Tensor) -> Tensor:
    return F.silu(x.view_as(x), inplace=True)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": F.silu,
    "own function": lambda x: OwnSilu.apply(x),
    "straight-through": lambda x: StraightThrough.apply(x),
    "checkpoint": checkpointed,
    "vmap": mapped,
    "subclass": subclassed,
    "scripted": scripted,
    "in place": aliased,
}


class Network(nn.Module):
    """Something between a convolution and a BatchNorm layer, and a way around both."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.skip, self.head = nn.Conv2d(3, 8, 1), nn.Linear(512, 4)
        self.activation = activation

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.activation(self.conv(images)))
        logits: Tensor = self.head((maps + 0.05 * self.skip(images)).relu().flatten(1))
        return logits


def data(model: nn.Module) -> tuple[Tensor, Tensor]:
    images = torch.rand(32, 3, 8, 8, generator=Generator().manual_seed(1))
    with torch.no_grad():
        return images, model(images).argmax(dim=1)


def by_a_plain_loop(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    found = images.clone()
    for _ in range(STEPS):
        found.requires_grad_()
        loss = F.cross_entropy(model(found), labels, reduction="sum")
        (grad,) = torch.autograd.grad(loss, found)
        found = found.detach() + EPS / 4 * grad.sign()
        found = images + (found - images).clamp(-EPS, EPS)
        found = found.clamp(0, 1)
    return found


def one_attack(threat_model: ThreatModel) -> dict[str, Attack]:
    return {"pgd": ATTACK}


def make(name: str) -> nn.Module:
    if name == "weight norm":
        model = Network(F.silu)
        parametrizations.weight_norm(model.conv)
        return model.eval()
    if name == "scripted network":
        scripted_network: nn.Module = torch.jit.script(Network(scripted).eval())
        return scripted_network
    return Network(ACTIVATIONS[name]).eval()


@pytest.mark.parametrize("name", [*ACTIVATIONS, "weight norm", "scripted network"])
def test_an_evaluation_and_a_plain_loop_find_the_same(name: str) -> None:
    model = make(name)
    images, labels = data(model)
    attacked = by_a_plain_loop(model, images, labels)
    flags = model(attacked).argmax(dim=1) == labels
    assert 0 < int(flags.sum()) < len(flags)
    report = evaluate_robustness(
        model,
        [(images, labels)],
        ATTACK.threat_model,
        suite=Suite("one", one_attack),
        checks=(),
    )
    assert torch.equal(report.flags["pgd"], flags)


@pytest.mark.parametrize("name", [*ACTIVATIONS, "weight norm"])
def test_the_attack_of_training_and_a_plain_loop_find_the_same(name: str) -> None:
    model = make(name)
    images, labels = data(model)
    (found,) = perturb.perturb_views(
        ATTACK,
        lambda views: F.cross_entropy(model(views[0]), labels, reduction="sum"),
        [images],
        module=model,
        generator=Generator(),
    )
    expected = by_a_plain_loop(model, images, labels)
    assert torch.allclose(found, expected, atol=1e-6)


def test_reentrant_checkpoints_are_refused_with_the_way_out() -> None:
    def reentrant(x: Tensor) -> Tensor:
        found: Tensor = checkpoint(F.silu, x, use_reentrant=True)
        return found

    model = Network(reentrant).eval()
    images, labels = data(model)
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        evaluate_robustness(model, [(images, labels)], ATTACK.threat_model)
    (rows,) = (model(images).argmax(dim=1) == labels).nonzero(as_tuple=True)
    assert len(rows) == len(images), "the model is what it was"
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        ATTACK(ClassificationObjective(model, labels), [images])
