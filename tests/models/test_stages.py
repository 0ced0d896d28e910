from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from lightly_adv.models.stages import (
    FeatureLevel,
    feature_level,
    last_stage,
    level_features,
)


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


LEVELS = {
    "resnet18": [64, 128, 256, 512],
    "resnet8_tiny": [32, 64, 128],
    "resnet50_small": [256, 512, 1024, 2048],
    "resnetv2_18_small": [64, 128, 256, 512],
    "resnetv2_50_small": [256, 512, 1024, 2048],
    "legacy_seresnet18": [64, 128, 256, 512],
    "densenet121": [256, 512, 1024, 1024],
    "convnext_atto": [40, 80, 160, 320],
    "regnetx_002": [24, 56, 152, 368],
    "mobilenetv3_small_050": [8, 16, 24, 288],
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_the_stages_without_the_stem(name: str) -> None:
    backbone = timm.create_model(name, num_classes=0).eval()
    images = torch.rand(1, 3, 32, 32)
    for stages, width in enumerate(LEVELS[name], start=1):
        level = feature_level(backbone, stages)
        assert level.width == width
        assert level_features(backbone, images, level).shape == (1, width)
    count = len(LEVELS[name])
    with pytest.raises(
        ValueError, match=rf"stages={count + 1}, .* has {count}; choose"
    ):
        feature_level(backbone, count + 1)


def test_features_of_a_stage_are_the_mean_of_its_map() -> None:
    backbone = timm.create_model("resnet18_small", num_classes=0).eval()
    images = torch.rand(2, 3, 16, 16)
    found = level_features(backbone, images, feature_level(backbone, 2))
    parts = ("conv1", "bn1", "act1", "layer1", "layer2")
    maps = nn.Sequential(*(backbone.get_submodule(part) for part in parts))(images)
    torch.testing.assert_close(found, maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("stages", [4, None])
def test_all_stages_are_the_backbone(stages: int | None) -> None:
    backbone = timm.create_model("resnet18_small", num_classes=0).eval()
    images = torch.rand(2, 3, 16, 16)
    found = level_features(backbone, images, feature_level(backbone, stages))
    torch.testing.assert_close(found, backbone(images))


def test_stages_behind_are_not_run_and_take_no_gradient() -> None:
    backbone = timm.create_model("resnet18_small", num_classes=0)
    features = level_features(
        backbone, torch.rand(2, 3, 8, 8), feature_level(backbone, 3)
    )
    features.sum().backward()  # type: ignore[no-untyped-call]
    assert backbone.get_buffer("layer4.0.bn1.num_batches_tracked") == 0
    reached = {n for n, p in backbone.named_parameters() if p.grad is not None}
    expected = {n for n, _ in backbone.named_parameters() if not n.startswith("layer4")}
    assert reached == expected


def test_any_module_will_do_as_a_whole() -> None:
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    level = feature_level(backbone, None)
    assert level == FeatureLevel(None, 5)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(level_features(backbone, images, level), backbone(images))
    with pytest.raises(ValueError, match=r"no feature_info.*Use stages=None"):
        feature_level(backbone, 3)


@pytest.mark.parametrize("stages", [0, -1])
def test_there_is_no_stage_before_the_first(stages: int) -> None:
    backbone = timm.create_model("resnet8_tiny", num_classes=0)
    with pytest.raises(ValueError, match=rf"stages={stages}, .* choose 1 to 3"):
        feature_level(backbone, stages)
