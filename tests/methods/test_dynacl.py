from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightly.loss import NTXentLoss
from torch import nn
from torch.utils.data import DataLoader

from lightly_adv.batch_norm.routes import bn_route
from lightly_adv.data import ContrastiveViews
from lightly_adv.data.image_dataset import identity
from lightly_adv.functional.schedules import StrengthSchedule
from lightly_adv.methods import DynACL
from tests.methods.published import (
    METHODS,
    SIZE,
    TinyViews,
    network,
    with_fixed_noise,
)

METHOD = next(each for each in METHODS if each.name == "dynacl")
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}

pytestmark = pytest.mark.filterwarnings("ignore:(The|Loading|You|GPU|TPU).*")


def in_epoch(epoch: int, *, legacy: bool) -> Any:
    """A module in an epoch of 1,000, counted from 1 as in the paper."""
    module: Any = DynACL("resnet8_tiny", legacy=legacy)
    module._trainer = SimpleNamespace(max_epochs=1000, current_epoch=epoch - 1)
    return module


@pytest.mark.parametrize(
    ("epoch", "strength", "paper", "code"),
    [
        (1, 1.0, 1.0, 1.0),
        (50, 1.0, 1.0, 1.0333),
        (51, 0.95, 1.0333, 1.0333),
        (951, 0.05, 1.6333, 1.6333),
        (1000, 0.05, 1.6333, 1.6667),
    ],
)
def test_the_schedules(epoch: int, strength: float, paper: float, code: float) -> None:
    assert in_epoch(epoch, legacy=False).strength() == pytest.approx(strength)
    assert 1 + in_epoch(epoch, legacy=False).gain() == pytest.approx(paper, abs=1e-4)
    assert 1 + in_epoch(epoch, legacy=True).gain() == pytest.approx(code, abs=1e-4)


def test_the_loss_is_that_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    module = METHOD.create(momentum=0.8, temperature=0.3)
    monkeypatch.setattr(module, "gain", lambda: 0.25)
    for parameter in module.online_backbone.parameters():
        parameter.data += 0.1  # the moving average lags behind
    lagging = module.backbone[0].weight.clone()
    made = with_fixed_noise(module)
    views = METHOD.batch()
    found = module.training_step(views, 0)

    expected = 0.8 * lagging + 0.2 * module.online_backbone[0].weight
    torch.testing.assert_close(module.backbone[0].weight.data, expected.detach())
    losses = {}
    for route, (first, second) in {"clean": views, "adv": made}.items():
        with bn_route(route):
            query = module.online_backbone(module.normalize(first))
            key = module.backbone(module.normalize(second))
            pair = module.online_projection_head(query), module.projection_head(key)
        losses[route] = NTXentLoss(temperature=0.3)(*pair)
    torch.testing.assert_close(
        found, (0.75 * losses["clean"] + 1.25 * losses["adv"]) / 2
    )


def test_the_encoder_is_the_moving_average_on_the_adversarial_route() -> None:
    module = METHOD.create()
    module.training_step(METHOD.batch(), 0)
    module.online_backbone[0].weight.data.zero_()
    module.eval()
    images = torch.rand(4, 3, SIZE, SIZE)
    with bn_route("adv"):
        expected = module.backbone(module.normalize(images))
    assert torch.equal(module.encoder(images), expected)
    assert not any(p.requires_grad for p in module.backbone.parameters())


def test_strength_and_weights_go_together_in_training() -> None:
    class Watched(DynACL):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            transform = self.trainer.datamodule.transform  # type: ignore[attr-defined]
            seen.append((self.strength(), transform.strength))
            return super().training_step(batch, batch_idx)

    seen: list[tuple[float, float]] = []
    module = Watched(network(), attack=METHOD.create().attack, period=2)
    views = ContrastiveViews(size=SIZE, strength=StrengthSchedule(4, 2))
    trainer = pl.Trainer(max_epochs=4, limit_train_batches=1, **QUIET)
    trainer.fit(module, datamodule=TinyViews(views))
    assert seen == [(1.0, 1.0), (1.0, 1.0), (0.5, 0.5), (0.5, 0.5)]


def test_loaders_of_others_are_told_the_epoch() -> None:
    module = METHOD.create()
    views = ContrastiveViews(size=SIZE, strength=StrengthSchedule(2, 1))
    images = TinyViews(views).train_dataset
    options: dict[str, Any] = {
        "num_workers": 1,
        "persistent_workers": True,
        "collate_fn": identity,
    }
    loader = DataLoader(images, batch_size=8, **options)
    trainer = pl.Trainer(max_epochs=2, limit_train_batches=1, **QUIET)
    trainer.fit(module, loader)
    assert views.strength == 0.5


def test_another_schedule_of_the_views_is_refused() -> None:
    views = ContrastiveViews(size=SIZE, strength=StrengthSchedule(4, 1))
    trainer = pl.Trainer(max_epochs=2, **QUIET)
    with pytest.raises(ValueError, match=r"epochs=4.*epochs=2.*ContrastiveViews\("):
        trainer.fit(METHOD.create(), datamodule=TinyViews(views))


def test_views_without_a_schedule_are_told_of() -> None:
    trainer = pl.Trainer(max_epochs=1, limit_train_batches=1, **QUIET)
    with pytest.warns(UserWarning, match="no transform.*StrengthSchedule"):
        trainer.fit(METHOD.create(), datamodule=TinyViews(ContrastiveViews(size=SIZE)))


def test_the_number_of_epochs_has_to_be_known() -> None:
    trainer = pl.Trainer(max_steps=2, max_epochs=-1, **QUIET)
    with pytest.raises(ValueError, match=r"max_epochs=-1.*give the Trainer"):
        trainer.fit(METHOD.create(), datamodule=METHOD.data())


def test_a_backbone_without_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no BatchNorm layer.*DeACL or RoCL"):
        DynACL(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))
