"""The LightningModules of the package on dual BatchNorm."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.batch_norm import convert_dual_batchnorm, routes
from lightly_adv.batch_norm.routes import RoutedLayer
from lightly_adv.methods import PretextModule
from lightly_adv.methods.classifier import RobustClassifier
from lightly_adv.models import create_backbone

ATTACK = PGD(ThreatModel(eps=8 / 255), steps=2)
STEPS = 2

pytestmark = pytest.mark.filterwarnings("ignore")


def backbone() -> nn.Module:
    return convert_dual_batchnorm(create_backbone("resnet8_tiny"))


def fit(module: pl.LightningModule) -> list[tuple[str, bool]]:
    """Return the routes that the first layer takes, each with the flag it has then."""
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.rand(4, 3, 32, 32, generator=generator), torch.arange(4))
        for _ in range(STEPS)
    ]
    loader: Any = torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]
    seen: list[tuple[str, bool]] = []
    layer = next(each for each in module.modules() if isinstance(each, RoutedLayer))
    for route, norm in layer.routes.items():
        norm.register_forward_hook(
            lambda norm, *_, route=route: seen.append((route, norm.training))
        )
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader, loader)
    return seen


def counts(module: nn.Module, route: str) -> set[int]:
    buffers = routes.buffers_of(module, route)
    return {int(each) for each in buffers if each.dim() == 0}


def test_a_pretext_module_gives_each_term_its_route() -> None:
    module = PretextModule("rotation", backbone=backbone(), attack=ATTACK)
    seen = fit(module)
    assert counts(module, "clean") == counts(module, "adv") == {STEPS}
    attacked = ATTACK.steps * [("adv", True)]
    assert [each for each in seen if each[1]] == STEPS * [
        ("clean", True),
        *attacked,
        ("adv", True),
    ]
    validation = seen[len(seen) - seen[::-1].index(("adv", True)) :]
    # One clean pass and the attack, in every step.
    assert validation.count(("clean", False)) == STEPS
    assert set(validation) == {("clean", False), ("adv", False)}


@pytest.mark.parametrize(("attack", "route"), [(ATTACK, "adv"), (None, "clean")])
def test_a_classifier_trains_and_validates_on_one_route(
    attack: Any, route: str
) -> None:
    module = RobustClassifier(backbone(), num_classes=4, attack=attack)
    assert {name for name, _ in fit(module)} == {route}
    assert counts(module, route) == {STEPS}
    (other,) = {"clean", "adv"} - {route}
    assert counts(module, other) == {0}
