"""timm backbones under the callback, also with gradient checkpointing."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from tests import zoo

pytestmark = pytest.mark.filterwarnings("ignore")

BACKBONES: dict[str, dict[str, Any]] = {
    "resnet8_tiny": {},
    "resnetv2_18_small": {"layers": (1, 1), "channels": (8, 16)},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)},
    "vit_tiny_patch16_224": {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 2,
    },
    "swin_tiny_patch4_window7_224": {
        "img_size": 32,
        "window_size": 4,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": (1, 1),
        "num_heads": (1, 2),
    },
    "efficientnet_lite0": {},
    "regnetx_002": {},
}


def simclr(name: str, *, checkpointing: bool) -> type[zoo.Base]:
    class SimCLR(zoo.Base):
        def __init__(self) -> None:
            super().__init__()
            backbone: Any = timm.create_model(name, num_classes=0, **BACKBONES[name])
            if checkpointing:
                backbone.set_grad_checkpointing()
            self.backbone = backbone
            self.head: Any = nn.LazyLinear(4)
            with torch.no_grad():
                self.eval()(torch.rand(2, 3, 32, 32))
                self.train()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            large = [nn.functional.interpolate(view, size=32) for view in batch[0]]
            return super().training_step([large], batch_idx)

    return SimCLR


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_checkpointing_changes_nothing(name: str, bn_mode: Any) -> None:
    """The attack of a checkpointed backbone is that of the plain one."""
    attack = PGD(ThreatModel(eps=0.05), steps=1)
    found = [
        zoo.fit(
            simclr(name, checkpointing=checkpointing),
            [AdversarialTraining(attack, bn_mode=bn_mode)],
            max_steps=1,
        )[0]
        for checkpointing in (False, True)
    ]
    plain, saving = (dict(each.named_parameters()) for each in found)
    for key, value in plain.items():
        assert torch.allclose(value, saving[key], atol=1e-5), key
