"""Clean and adversarial streams on their own BatchNorm routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.batch_norm import (
    bn_route,
    convert_dual_batchnorm,
    export_route,
    routes,
)
from lightly_adv.callbacks import RobustValidation
from lightly_adv.evaluation import evaluate_robustness
from tests import zoo

IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)
ATTACK = PGD(ThreatModel(eps=0.05), steps=2)
TOTAL = 2 * zoo.STEPS

pytestmark = pytest.mark.filterwarnings("ignore")


class Single(zoo.Base):
    """The base of the zoo with two routes, and one forward pass per step."""

    lr = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.backbone[3] = nn.Identity()
        convert_dual_batchnorm(self)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch[0][0])

    def loss(self, view: Tensor) -> Tensor:
        # The square alone is 1: the last layer of the head normalises.
        return torch.square(self(view).relu()).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Frozen(Single):
    """Nothing is learned, so that only statistics move."""

    lr = 0.0


def norms(module: Any, route: str) -> list[Any]:
    return [each.routes[route] for each in routes.routed_layers(module).values()]


def counts(module: Any, route: str) -> set[int]:
    return {int(each.num_batches_tracked) for each in norms(module, route)}


@pytest.mark.parametrize("bn_mode", ["eval", "batch", "train"])
@pytest.mark.parametrize("rng", ["same", "resample"])
def test_dual_steps_advance_each_route_once(bn_mode: Any, rng: Any) -> None:
    callback = AdversarialTraining(ATTACK, mode="dual", bn_mode=bn_mode, rng=rng)
    module, _ = zoo.fit(Single, [callback])
    assert counts(module, "clean") == counts(module, "adv") == {TOTAL}


def test_replaced_steps_advance_the_adversarial_route_alone() -> None:
    module, _ = zoo.fit(Single, [AdversarialTraining(ATTACK)])
    untouched = Single()
    assert counts(module, "clean") == {0}
    assert counts(module, "adv") == {TOTAL}
    for norm, other in zip(
        norms(module, "clean"), norms(untouched, "clean"), strict=True
    ):
        assert torch.equal(norm.weight, other.weight)
        assert torch.equal(norm.running_mean, other.running_mean)


def test_without_the_callback_only_the_first_route_is_taken() -> None:
    module, _ = zoo.fit(Single, [])
    assert counts(module, "clean") == {TOTAL}
    assert counts(module, "adv") == {0}


def test_statistics_of_both_routes_equal_those_by_hand(monkeypatch: Any) -> None:
    pairs: list[tuple[Tensor, Tensor]] = []
    call = PGD.perturb_views

    def spy(self: PGD, objective: Any, views: Any, **kwargs: Any) -> list[Tensor]:
        found = call(self, objective, views, **kwargs)
        pairs.append((views[0].detach(), found[0]))
        return found

    monkeypatch.setattr(PGD, "perturb_views", spy)
    callback = AdversarialTraining(ATTACK, mode="dual", views=[0])
    module, _ = zoo.fit(Frozen, [callback])
    assert isinstance(module, Frozen)
    assert len(pairs) == TOTAL
    first: Any = module.backbone[1]
    for at, route in enumerate(("clean", "adv")):
        mean, var = torch.zeros(8), torch.ones(8)
        for views in pairs:
            features = module.backbone[0](views[at]).detach()
            mean = 0.9 * mean + 0.1 * features.mean(dim=(0, 2, 3))
            var = 0.9 * var + 0.1 * features.var(dim=(0, 2, 3), unbiased=True)
        norm = first.routes[route]
        assert torch.allclose(norm.running_mean, mean, atol=1e-6), route
        assert torch.allclose(norm.running_var, var, atol=1e-6), route
    assert not torch.allclose(
        first.routes["clean"].running_mean, first.routes["adv"].running_mean, atol=1e-5
    )


def test_at_eps_zero_both_routes_see_the_same_statistics() -> None:
    callback = AdversarialTraining(IDENTITY, mode="dual")
    module, _ = zoo.fit(Frozen, [callback])
    for clean, adv in zip(norms(module, "clean"), norms(module, "adv"), strict=True):
        assert torch.equal(clean.running_mean, adv.running_mean)
        assert torch.equal(clean.running_var, adv.running_var)


@pytest.mark.parametrize(("bn_mode", "training"), [("eval", False), ("batch", True)])
def test_the_attack_evaluates_the_adversarial_route(
    bn_mode: Any, training: bool
) -> None:
    seen: list[tuple[str, bool]] = []

    class Watching(Single):
        def loss(self, view: Tensor) -> Tensor:
            layer: Any = self.backbone[1]
            names = {id(norm): name for name, norm in layer.routes.items()}
            seen.append((names[id(layer.current())], layer.current().training))
            return super().loss(view)

    callback = AdversarialTraining(ATTACK, mode="dual", bn_mode=bn_mode, verify="off")
    zoo.fit(Watching, [callback], max_steps=1)
    attack = [("adv", training)] * (len(seen) - 2)
    assert len(attack) >= 2
    assert seen == [*attack, ("adv", True), ("clean", True)]


def test_one_dual_step_equals_the_step_by_hand(monkeypatch: Any) -> None:
    perturbed: list[Tensor] = []
    call = PGD.perturb_views

    def spy(self: PGD, *args: Any, **kwargs: Any) -> list[Tensor]:
        perturbed[:] = call(self, *args, **kwargs)
        return list(perturbed)

    monkeypatch.setattr(PGD, "perturb_views", spy)
    callback = AdversarialTraining(ATTACK, mode="dual", weight=0.25, views=[0])
    module, _ = zoo.fit(Single, [callback], max_steps=1)
    pl.seed_everything(0, verbose=False)
    again = Single()
    optimizer = again.configure_optimizers()
    (clean, _), *_ = next(iter(zoo.batches()))
    loss = 0.75 * again.loss(clean)
    with bn_route("adv"):
        loss = loss + 0.25 * again.loss(perturbed[0])
    torch.autograd.backward(loss)
    optimizer.step()
    expected = again.state_dict()
    for name, value in module.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    moved = norms(again, "adv")[0].weight - norms(Single(), "adv")[0].weight
    assert moved.abs().max() > 1e-6


@pytest.mark.parametrize("create", zoo.ZOO)
def test_after_conversion_everything_else_still_advances_as_without(
    create: Callable[[], pl.LightningModule],
) -> None:
    # On the same route, with views that do not move, nothing tells the two apart.
    def converted() -> pl.LightningModule:
        module = convert_dual_batchnorm(create())
        assert isinstance(module, pl.LightningModule)
        return module

    with bn_route("adv"):
        plain = zoo.state(*zoo.fit(converted, []))
    attacked = zoo.state(*zoo.fit(converted, [AdversarialTraining(IDENTITY)]))
    assert plain.changes(attacked) == []


@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_other_names_are_refused_before_training(mode: Any) -> None:
    class Other(zoo.Base):
        def __init__(self) -> None:
            super().__init__()
            convert_dual_batchnorm(self.head, routes=("weak", "strong"))

    message = r"the layer 'head\.layers\.1' has the routes \('weak', 'strong'\)"
    with pytest.raises(ValueError, match=message):
        zoo.fit(Other, [AdversarialTraining(ATTACK, mode=mode)])


def test_after_an_error_the_default_route_is_back() -> None:
    class Failing(Single):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                raise RuntimeError("the step failed")
            return super().training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="the step failed"):
        zoo.fit(Failing, [AdversarialTraining(ATTACK)])
    layer: Any = convert_dual_batchnorm(nn.BatchNorm1d(2))
    assert layer.current() is layer.routes["clean"]


class Classifier(pl.LightningModule):
    """Its routes disagree: only the adversarial one is right."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 2))
        convert_dual_batchnorm(self)
        layer: Any = self.model[1]
        layer.routes["clean"].weight.data.fill_(-1.0)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


def test_robust_validation_takes_the_adversarial_route() -> None:
    pl.seed_everything(0, verbose=False)
    module = Classifier().eval()
    images = torch.rand(20, 3, 2, 2)
    with bn_route("adv"), torch.no_grad():
        labels = module(images).argmax(dim=1)
    threat_model = ThreatModel(eps=0.02)
    data = torch.utils.data.TensorDataset(images, labels)
    loader = torch.utils.data.DataLoader(data, batch_size=10)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[RobustValidation(threat_model, suite="smoke")],
    )
    (logged,) = trainer.validate(module, loader, verbose=False)
    exported = export_route(module, "adv")
    expected = evaluate_robustness(exported, loader, threat_model, suite="smoke")
    assert logged["val_robust_top1"] == pytest.approx(expected.robust_accuracy)
    assert expected.robust_accuracy > 50
