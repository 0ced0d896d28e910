"""Ways to compute that modules use inside of their step, at eps = 0 as without us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.batch_norm import convert_dual_batchnorm
from tests import zoo
from tests.zoo import state

IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)
ATTACK = PGD(ThreatModel(eps=0.05), steps=2)

pytestmark = pytest.mark.filterwarnings("ignore")


class Middle(zoo.Base):
    """Has one more part behind the first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = self.part()

    def part(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU())

    def through(self, maps: Tensor) -> Tensor:
        result: Tensor = self.middle(maps)
        return result

    def forward(self, images: Tensor) -> Tensor:
        maps = self.through(self.backbone[0](images))
        result: Tensor = self.head(self.backbone[1:](maps))
        return result


class Checkpoint(Middle):
    reentrant = False

    def through(self, maps: Tensor) -> Tensor:
        result: Tensor = checkpoint(self.middle, maps, use_reentrant=self.reentrant)
        return result


class ReentrantCheckpoint(Checkpoint):
    reentrant = True


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * (ctx.saved_tensors[0] > 0)


class AutogradFunction(Middle):
    def through(self, maps: Tensor) -> Tensor:
        apply: Any = OwnFunction.apply
        result: Tensor = apply(self.middle(maps))
        return result


class Vmap(Middle):
    def part(self) -> nn.Module:
        return nn.Conv2d(8, 8, 1)

    def through(self, maps: Tensor) -> Tensor:
        result: Tensor = torch.func.vmap(self.middle)(maps)
        return result


class FunctionalCall(Middle):
    def through(self, maps: Tensor) -> Tensor:
        parameters: dict[str, Tensor] = dict(self.middle.named_parameters())
        result: Tensor = torch.func.functional_call(self.middle, parameters, (maps,))
        return result


class GradientInside(Vmap):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        maps = self.backbone[0](batch[0][0]).detach()

        def loss(parameters: Any) -> Tensor:
            found = torch.func.functional_call(self.middle, parameters, (maps,))
            value: Tensor = found.square().mean()
            return value

        grads = torch.func.grad(loss)(dict(self.middle.named_parameters()))
        penalty = torch.stack([each.square().sum() for each in grads.values()]).sum()
        return super().training_step(batch, batch_idx) + penalty


class LowRank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Parameter(0.1 * torch.randn(2, 8))
        self.up = nn.Parameter(torch.zeros(8, 2))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


class LoRA(Middle):
    def part(self) -> nn.Module:
        layer = nn.Conv2d(8, 8, 1)
        layer.requires_grad_(False)
        return parametrize.register_parametrization(layer, "weight", LowRank())

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        with parametrize.cached():
            return super().training_step(batch, batch_idx)


class OldSpectralNorm(Middle):
    """Looks at the mode of the layer that it normalises."""

    def part(self) -> nn.Module:
        layer: nn.Module = nn.utils.spectral_norm(nn.Conv2d(8, 8, 1))
        return layer


class DataParallel(Middle):
    def part(self) -> nn.Module:
        return nn.DataParallel(super().part())


MECHANISMS = [
    Checkpoint,
    ReentrantCheckpoint,
    AutogradFunction,
    Vmap,
    FunctionalCall,
    GradientInside,
    LoRA,
    OldSpectralNorm,
    DataParallel,
]


@pytest.mark.parametrize("create", MECHANISMS)
def test_replacing_changes_nothing(create: Callable[[], pl.LightningModule]) -> None:
    plain = state(*zoo.fit(create, []))
    attacked = state(*zoo.fit(create, [AdversarialTraining(IDENTITY)]))
    assert plain.changes(attacked) == []


@pytest.mark.parametrize("create", MECHANISMS)
def test_dual_advances_state_once(create: Callable[[], pl.LightningModule]) -> None:
    callback = AdversarialTraining(IDENTITY, mode="dual", weight=0.3)
    plain = state(*zoo.fit(create, [], max_steps=1))
    dual = state(*zoo.fit(create, [callback], max_steps=1))
    for name in plain.changes(dual):
        first, second = plain.values[name], dual.values[name]
        assert torch.allclose(first, second, atol=1e-5), name


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("create", MECHANISMS)
def test_they_train_against_an_attack(
    create: Callable[[], pl.LightningModule], mode: Any
) -> None:
    plain, _ = zoo.fit(create, [], max_steps=2)
    found, _ = zoo.fit(create, [AdversarialTraining(ATTACK, mode=mode)], max_steps=2)
    pairs = list(zip(found.parameters(), plain.parameters(), strict=True))
    assert all(first.isfinite().all() for first, _ in pairs)
    assert any(not torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("create", [Checkpoint, ReentrantCheckpoint])
def test_checkpoints_on_routes(
    create: Callable[[], pl.LightningModule], mode: Any
) -> None:
    """The same weights as without checkpoints; statistics are counted twice."""

    def converted(create: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: convert_dual_batchnorm(create())

    callback = AdversarialTraining(ATTACK, mode=mode)
    plain, _ = zoo.fit(converted(Middle), [callback], max_steps=2)
    found, _ = zoo.fit(converted(create), [callback], max_steps=2)
    for first, second in zip(found.parameters(), plain.parameters(), strict=True):
        assert torch.equal(first, second)
    for route in ("clean", "adv"):
        name = f"middle.1.routes.{route}.num_batches_tracked"
        assert found.get_buffer(name) == 2 * plain.get_buffer(name)
