"""Training steps that are legal without the callback, and have to be with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.batch_norm import convert_dual_batchnorm
from tests import zoo
from tests.zoo import state

IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)
ATTACK = PGD(ThreatModel(eps=0.05), steps=3, random_start=True)

pytestmark = pytest.mark.filterwarnings("ignore")


class WritesIntoItsBatch(zoo.Base):
    """Normalises its views, and scales its labels, in place."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = (view.sub_(0.5).div_(0.3) for view in batch[0])
        batch[1].mul_(2)
        return self.criterion(self(first), self(second)) + batch[1].sum()


class GradientPenalty(zoo.Base):
    """Differentiates with respect to its images."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = batch[0]
        first = first.requires_grad_()
        loss = self.criterion(self(first), self(second))
        (grad,) = torch.autograd.grad(loss, first, create_graph=True)
        return loss + grad.square().sum()


class Validates(zoo.Base):
    """Takes its training step in validation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = {True: 0, False: 0}
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.counted()
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(self.training_step(batch, batch_idx)))

    def counted(self) -> None:
        self.calls[self.training] += 1

    def val_dataloader(self) -> Any:
        return zoo.batches(2)


@pytest.mark.parametrize("create", [WritesIntoItsBatch, GradientPenalty, Validates])
@pytest.mark.parametrize("verify", ["first_batch", "off"])
def test_at_eps_zero_training_is_the_same_bit_for_bit(
    create: Callable[[], pl.LightningModule], verify: Any
) -> None:
    plain = state(*zoo.fit(create, [], data=fresh()))
    callback = AdversarialTraining(IDENTITY, verify=verify)
    attacked = state(*zoo.fit(create, [callback], data=fresh()))
    assert plain.changes(attacked) == []


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("create", [WritesIntoItsBatch, GradientPenalty])
def test_they_train_against_an_attack(
    create: Callable[[], pl.LightningModule], mode: Any
) -> None:
    attack = PGD(ThreatModel(eps=0.05), steps=2, random_start=True, restarts=2)
    module, _ = zoo.fit(create, [AdversarialTraining(attack, mode=mode)], data=fresh())
    assert all(each.isfinite().all() for each in module.parameters())


def fresh() -> Any:
    """Return a loader that gives new tensors each time."""
    data = list(zoo.batches(2))

    class Fresh(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, index: int) -> Any:
            views, labels, names = data[index]
            return [view.clone() for view in views], labels.clone(), names

    return torch.utils.data.DataLoader(Fresh(), batch_size=None)


def test_validation_is_not_attacked() -> None:
    module, _ = zoo.fit(Validates, [AdversarialTraining(ATTACK)], max_epochs=1)
    assert isinstance(module, Validates)
    # 2 batches before training and 2 after it.
    plain, _ = zoo.fit(Validates, [], max_epochs=1)
    assert isinstance(plain, Validates)
    assert module.losses[:2] == plain.losses[:2]
    assert len(module.losses) == len(plain.losses) == 4


class SkipsPerturbed(zoo.Base):
    """Skips batches that are not those of the loader, in train mode."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        known = {float(views[0].sum()) for views, *_ in zoo.batches()}
        if self.training and float(batch[0][0].sum()) not in known:
            return None
        return super().training_step(batch, batch_idx)


class SkipsAll(zoo.Base):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None


def test_a_stream_that_is_skipped_leaves_the_other() -> None:
    callback = AdversarialTraining(ATTACK, mode="dual")
    plain = state(*zoo.fit(SkipsPerturbed, []))
    dual = state(*zoo.fit(SkipsPerturbed, [callback]))
    assert plain.changes(dual) == []


@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_steps_may_skip_every_batch(mode: Any) -> None:
    module, trainer = zoo.fit(SkipsAll, [AdversarialTraining(ATTACK, mode=mode)])
    assert trainer.current_epoch == 2
    assert module.trainer is trainer


@dataclass
class Pair:
    views: list[Tensor]
    label: Tensor


class TakesDataclasses(zoo.Base):
    def training_step(self, batch: Pair, batch_idx: int) -> Any:
        assert isinstance(batch, Pair)
        return super().training_step((batch.views, batch.label), batch_idx)


def test_batches_may_be_dataclasses() -> None:
    data = [Pair(views, labels) for views, labels, _ in zoo.batches()]
    loader: Any = torch.utils.data.DataLoader(
        data,  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=lambda x: x,
    )
    module, _ = zoo.fit(TakesDataclasses, [AdversarialTraining(ATTACK)], data=loader)
    plain, _ = zoo.fit(TakesDataclasses, [], data=loader)
    first, second = (next(each.parameters()) for each in (module, plain))
    assert not torch.equal(first, second)


def counting(create: Callable[[], pl.LightningModule]) -> Callable[[], Any]:
    """Count the forward passes of the first layer, those of isolated runs, too."""

    def made() -> Any:
        module: Any = create()
        module.backbone[0].forward = counted(module.backbone[0].forward)
        return module

    return made


CALLS: list[int] = []


def counted(forward: Any) -> Any:
    def wrapped(images: Tensor) -> Tensor:
        # A global: what the function holds itself is set aside.
        CALLS.append(len(images))
        output: Tensor = forward(images)
        return output

    return wrapped


class OneView(zoo.Base):
    """The second view gets no gradient, as the keys of MoCo."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = batch[0]
        with torch.no_grad():
            target = self(second)
        return self.criterion(self(first), target)


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("create", [zoo.Base, OneView])
def test_the_announced_cost_is_the_true_one(
    create: Callable[[], pl.LightningModule],
    independent: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "lightly_adv.callbacks.adversarial_training.rank_zero_info", said.append
    )
    options: Any = {"independent": independent, "verify": "off"}
    counts = []
    for batches in (1, 2):  # the second one alone: the first is looked at before
        CALLS.clear()
        callback = AdversarialTraining(ATTACK, **options)
        zoo.fit(counting(create), [callback], data=zoo.batches(batches), max_epochs=1)
        counts.append(sum(CALLS))
    assert f"one step = {counts[1] - counts[0]} forward +" in said[0]
    lacking = "1 of 2 views attacked, 1 without a gradient"
    assert (lacking in said[0]) == (create is OneView)


def test_replacing_on_routes_warns_of_the_one_that_is_not_trained() -> None:
    def routed() -> pl.LightningModule:
        module = zoo.Base()
        convert_dual_batchnorm(module)
        return module

    message = r'trains the BatchNorm route "adv" alone'
    with pytest.warns(UserWarning, match=message):
        zoo.fit(routed, [AdversarialTraining(ATTACK)], max_epochs=1)


def test_modules_of_no_batch_norm_do_not_warn(
    recwarn: pytest.WarningsRecorder,
) -> None:
    class Plain(zoo.Base):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 8))

    zoo.fit(Plain, [AdversarialTraining(ATTACK)], max_epochs=1)
    assert not [each for each in recwarn if "route" in str(each.message)]


class RootOfADifference(zoo.Base):
    """Has no gradient where both views are the same."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = (self.backbone(view) for view in batch[0])
        return (first - second).square().sum().sqrt()


@pytest.mark.parametrize("verify", ["first_batch", "off"])
def test_a_gradient_that_is_undefined_at_the_clean_views_does_no_harm(
    verify: Any,
) -> None:
    data = [[[views[0], views[0].clone()]] for views, *_ in zoo.batches()]
    loader: Any = torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]
    callback = AdversarialTraining(ATTACK, verify=verify)
    module, _ = zoo.fit(RootOfADifference, [callback], data=loader, max_epochs=1)
    assert all(each.isfinite().all() for each in module.parameters())
