from __future__ import annotations

import pytest
import timm
from torch import nn

from lightly_adv.models.stages import last_stage


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ("layer4",)),
        ("resnet8_tiny", ("layer3",)),
        ("resnetv2_18_small", ("stages.3", "norm")),
        ("convnext_atto", ("stages.3", "head")),
        ("vit_tiny_patch16_224", ("blocks.11", "norm")),
        ("swin_tiny_patch4_window7_224", ("layers.3", "norm")),
    ],
)
def test_networks_of_timm(name: str, expected: tuple[str, ...]) -> None:
    assert last_stage(timm.create_model(name, num_classes=0)) == expected


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Sequential does not tell its stages.*'head'"
    ):
        last_stage(nn.Sequential(nn.Flatten()))
