"""The base of methods, by two methods as users write them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.attacks import AttackSchedule
from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.batch_norm.routes import bn_route
from lightly_adv.errors import UnreachedError
from lightly_adv.functional.schedules import Ramp, value_at
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.training.optimizers import OneCycleSGD

EPS = 8 / 255
ATTACK = PGD(ThreatModel(eps=EPS), steps=2)

pytestmark = pytest.mark.filterwarnings("ignore")


class DeACL(AdversarialModule):
    """A frozen teacher, an inner objective, both streams in one forward pass."""

    def __init__(self, backbone: nn.Module, attack: Any, weight: float = 2.0) -> None:
        super().__init__(attack, optimizer=OneCycleSGD(lr=0.01))
        self.backbone, self.weight = backbone, weight
        self.teacher = self.frozen(backbone)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        target = self.teacher(batch)
        adv = self.perturb(
            lambda x: -F.cosine_similarity(self.backbone(x), target), batch
        )
        z, z_adv = self.backbone(torch.cat([batch, adv])).chunk(2)
        clean, robust = F.cosine_similarity(z, target), F.cosine_similarity(z_adv, z)
        return -(clean + self.weight * robust).mean()


class ACL(AdversarialModule):
    """Two BatchNorm routes, and a weight that follows progress."""

    def __init__(self, backbone: nn.Module, attack: Any, weight: Any) -> None:
        super().__init__(attack, optimizer=OneCycleSGD(lr=0.01))
        self.backbone, self.weight = convert_dual_batchnorm(backbone), weight
        self.seen: list[float] = []

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        return -F.cosine_similarity(self.backbone(x0), self.backbone(x1)).mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        weight = value_at(self.weight, self.progress)
        adv = self.perturb(self.loss, *batch)
        with bn_route("adv"):
            robust = self.loss(*adv)
        with bn_route("clean"):
            clean = self.loss(*batch)
        self.seen.append(weight)
        return (1 - weight) * clean + weight * robust


def network() -> nn.Sequential:
    torch.manual_seed(0)
    pool = nn.AdaptiveAvgPool2d(2)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), pool, nn.Flatten()
    )


def images(count: int = 8) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def loader(data: Any, batch_size: int) -> Any:
    return torch.utils.data.DataLoader(data, batch_size=batch_size)


def fit(module: pl.LightningModule, data: Any, **options: Any) -> pl.Trainer:
    pl.seed_everything(7, verbose=False)
    trainer = pl.Trainer(
        **{"max_epochs": 2, **options},
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(data, 4))
    return trainer


def test_a_method_with_a_teacher_trains() -> None:
    module = DeACL(network(), AttackSchedule(ATTACK, ramp=0.5))
    before = copy.deepcopy(module.state_dict())
    fit(module, images())
    after = module.state_dict()
    moved = {key for key in after if not torch.equal(before[key], after[key])}
    # One forward pass of training per batch: the attack moves no statistics.
    assert after["backbone.1.num_batches_tracked"] == 4
    assert moved == {key for key in after if key.startswith("backbone.")}
    assert not module.teacher.training


def test_a_method_with_two_routes_trains() -> None:
    module = ACL(network(), ATTACK, Ramp(0.0, 1.0))
    fit(module, list(zip(images(), images().flip(-1), strict=True)))
    assert module.seen == [0.0, 0.25, 0.5, 0.75]
    tracked = {
        key: int(value)
        for key, value in module.state_dict().items()
        if key.endswith("num_batches_tracked")
    }
    assert set(tracked.values()) == {8}  # two views in each of four batches
    assert len(tracked) == 2


def test_it_returns_what_the_attack_finds() -> None:
    module = DeACL(network(), ATTACK)
    module.eval()
    x = images()
    target = module.teacher(x)

    def distance(x: Tensor) -> Tensor:
        found: Tensor = (module.backbone(x) - target).square().sum(dim=1)
        return found

    found = module.perturb(distance, x, attack=PGD(ThreatModel(eps=EPS), steps=3))
    assert float((found - x).abs().max()) <= EPS + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float(distance(found).mean()) > 0
    assert not found.requires_grad


def test_runs_repeat_and_batches_differ() -> None:
    class Noise(AdversarialModule):
        def __init__(self) -> None:
            super().__init__(ATTACK)
            self.backbone = network()
            self.drawn: list[Tensor] = []

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.drawn += [torch.rand(3, generator=self.generator) for _ in range(2)]
            found: Tensor = self.backbone(batch).mean()
            return found

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.drawn.append(torch.rand(3, generator=self.generator))

    modules = Noise(), Noise()
    for module in modules:
        fit(module, images())
    first, again = (torch.stack(module.drawn) for module in modules)
    assert torch.equal(first, again)
    assert len(set(map(tuple, first.tolist()))) == len(first) == 8

    trainer = fit(modules[0], images())
    modules[0].drawn.clear()
    for _ in range(2):
        trainer.validate(modules[0], loader(images(4), 1), verbose=False)
    drawn = torch.stack(modules[0].drawn)
    assert torch.equal(drawn[:4], drawn[4:])
    assert len(set(map(tuple, drawn.tolist()))) == 4


def test_outside_of_a_trainer_it_is_the_final_attack_with_fixed_noise() -> None:
    module = DeACL(network(), AttackSchedule(ATTACK, ramp=1.0)).eval()
    assert module.progress == 1.0

    def loss(x: Tensor) -> Tensor:
        found: Tensor = module.backbone(x).square().sum(dim=1)
        return found

    x = images()
    first, again = module.perturb(loss, x), module.perturb(loss, x)
    assert torch.equal(first, again)
    assert float((first - x).abs().max()) == pytest.approx(EPS, rel=1e-3)


def test_copies_train_on_their_own() -> None:
    module = DeACL(network(), ATTACK)
    fit(module, images())
    twin = copy.deepcopy(module)
    twin.train()
    assert not twin.teacher.training
    assert twin.teacher is not module.teacher
    fit(twin, images())


def test_several_views_come_back_as_a_list() -> None:
    module = ACL(network(), ATTACK, 0.5)
    found = module.perturb(module.loss, images(), images().flip(-1))
    assert isinstance(found, list)
    assert len(found) == 2


def test_a_route_that_does_not_exist_is_refused() -> None:
    module = ACL(network(), ATTACK, 0.5)
    with pytest.raises(ValueError, match=r"'adv_ce'.*routes"):
        module.perturb(module.loss, images(), images(), route="adv_ce")


def test_a_misspelt_route_is_refused_in_a_network_without_routes() -> None:
    module = DeACL(network(), ATTACK)
    for route in ("clean", "adv"):
        module.perturb(lambda x: module.backbone(x).sum(dim=1), images(), route=route)
    with pytest.raises(ValueError, match=r"'nope'.*\('clean', 'adv'\)"):
        module.perturb(module.backbone, images(), route="nope")
    with (
        pytest.raises(ValueError, match=r"'nope'.*Use one"),
        module.attack_mode("nope"),
    ):
        pass


def test_a_route_that_a_layer_has_is_taken() -> None:
    module = DeACL(convert_dual_batchnorm(network(), routes=("clean", "third")), ATTACK)
    found = module.perturb(
        lambda x: module.backbone(x).sum(dim=1), images(), route="third"
    )
    assert not torch.equal(found, images())


def test_a_loss_that_does_not_depend_on_the_views_is_refused() -> None:
    module = ACL(network(), ATTACK, 0.5)
    message = r"does not depend on any of the views.*self\.perturb\("
    with pytest.raises(UnreachedError, match=message) as caught:
        module.perturb(lambda x: module.backbone(images()).mean(), images())
    assert "AdversarialTraining" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("mode", ["x", ""])
def test_an_unknown_bn_mode_is_refused(mode: Any) -> None:
    message = f"bn_mode='{mode}' is unknown; use one of .*'batch'"
    with pytest.raises(ValueError, match=message):
        AdversarialModule(ATTACK, bn_mode=mode)
    module = DeACL(network(), ATTACK)
    with pytest.raises(ValueError, match=message):
        module.perturb(module.backbone, images(), bn_mode=mode)


def test_no_attack_and_no_views_are_refused() -> None:
    module = DeACL(network(), None)
    with pytest.raises(ValueError, match="has no attack"):
        module.perturb(lambda x: x.mean(), images())
    with pytest.raises(TypeError, match="no view"):
        module.perturb(module.backbone, attack=ATTACK)
    with pytest.raises(TypeError, match="attack"):
        DeACL(network(), "pgd")
    wrong: Any = "pgd"
    with pytest.raises(TypeError, match=r"attack is a str; expected .*PGD\("):
        module.perturb(module.backbone, images(), attack=wrong)


def test_a_schedule_needs_to_know_how_long_training_lasts() -> None:
    class Stream(torch.utils.data.IterableDataset[Tensor]):
        def __iter__(self) -> Any:
            return iter(images())

    class OwnOptimizer(DeACL):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    fit(OwnOptimizer(network(), ATTACK), Stream())
    with pytest.raises(ValueError, match="max_steps"):
        fit(OwnOptimizer(network(), AttackSchedule(ATTACK)), Stream())


def test_the_encoder_is_normalisation_and_backbone() -> None:
    module = DeACL(network(), ATTACK).eval()
    assert torch.equal(module.encoder(images()), module.backbone(images()))
    module.normalize = nn.Sequential(nn.Hardtanh(0.0, 0.5))
    expected = module.backbone(images().clamp(0.0, 0.5))
    assert torch.equal(module.encoder(images()), expected)
