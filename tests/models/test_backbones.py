from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from lightly_adv.models import create_backbone, feature_dim


def test_name_gives_features() -> None:
    backbone = create_backbone("resnet8_tiny")
    assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, 128)


def test_keyword_arguments_reach_timm() -> None:
    backbone = create_backbone("resnet8_tiny", in_chans=1)
    assert backbone(torch.rand(2, 1, 32, 32)).shape == (2, 128)


def test_module_is_returned_as_it_is() -> None:
    module = nn.Flatten()
    assert create_backbone(module) is module


def test_unknown_name_lists_near_ones() -> None:
    with pytest.raises(ValueError, match=r"backbone 'resnet18_smal'.*'resnet18_small'"):
        create_backbone("resnet18_smal")


def test_hub_name_needs_pretrained() -> None:
    with pytest.raises(ValueError, match=r"fetched from a hub.*pretrained=True"):
        create_backbone("hf-hub:someone/something")


def test_module_with_keyword_arguments() -> None:
    with pytest.raises(TypeError, match=r"\['in_chans'\] came with a Flatten"):
        create_backbone(nn.Flatten(), in_chans=1)


def test_module_with_a_classifier() -> None:
    model: Any = timm.create_model("resnet8_tiny", num_classes=10)
    with pytest.raises(ValueError, match=r"of 10 classes.*reset_classifier\(0\)"):
        create_backbone(model)
    model.reset_classifier(0)
    assert create_backbone(model) is model


@pytest.mark.parametrize("name", ["resnet8_tiny", "mobilenetv3_small_050"])
def test_feature_dim_is_what_comes_out(name: str) -> None:
    backbone = create_backbone(name).eval()
    assert feature_dim(backbone) == backbone(torch.rand(1, 3, 32, 32)).shape[1]


def _probed() -> nn.Sequential:
    conv, norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)
    return nn.Sequential(conv, norm, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_probing_leaves_the_backbone_alone() -> None:
    backbone = _probed()
    backbone[1].eval()
    modes = [module.training for module in backbone.modules()]
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    assert feature_dim(backbone) == 5
    assert [module.training for module in backbone.modules()] == modes
    after = backbone.state_dict()
    assert all(torch.equal(state[key], after[key]) for key in state)


def test_probing_puts_modes_back_after_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("broken")

    backbone = nn.Sequential(Broken())
    with pytest.raises(RuntimeError, match="broken"):
        feature_dim(backbone)
    assert backbone.training
    assert backbone[0].training


def test_probing_takes_dtype_and_size() -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 7)).double()
    assert feature_dim(backbone, image_size=16) == 7


def test_maps_instead_of_features() -> None:
    with pytest.raises(ValueError, match=r"to \(1, 5, 30, 30\); expected \(B, D\)"):
        feature_dim(nn.Conv2d(3, 5, 3))


@pytest.mark.parametrize("channels", [1, 13])
def test_probing_gives_as_many_channels_as_are_taken(channels: int) -> None:
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert feature_dim(nn.Sequential(nn.Conv2d(channels, 5, 3), *pooled)) == 5


@pytest.mark.parametrize(
    ("found", "words"), [([torch.ones(1, 3)] * 4, "list of 4"), ({"x": 1}, "dict of 1")]
)
def test_lists_of_maps_are_refused_with_what_was_expected(
    found: Any, words: str
) -> None:
    class Several(nn.Module):
        def forward(self, images: Tensor) -> Any:
            return found

    with pytest.raises(TypeError, match=rf"Several returned a {words}; .* \(B, D\)"):
        feature_dim(Several())
