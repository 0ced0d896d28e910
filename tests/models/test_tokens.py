"""Features of tokens and places."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from lightly_adv.models.tokens import Tokens, check_tokens, read_features


def test_tokens_of_a_vit() -> None:
    vit: Any = timm.create_model("test_vit", num_classes=0).eval()
    images = torch.rand(2, 3, 160, 160)
    tokens = vit.forward_features(images)
    prefix = vit.num_prefix_tokens
    expected = {
        "class": tokens[:, 0],
        "patch": tokens[:, prefix:],
        "all": tokens,
        "pooled": vit(images),
    }
    for name, value in expected.items():
        chosen: Tokens = name  # type: ignore[assignment]
        check_tokens(vit, chosen)
        assert torch.equal(read_features(vit, images, chosen), value)


def test_places_of_a_map() -> None:
    net = timm.create_model("resnet18", num_classes=0).eval()
    images = torch.rand(2, 3, 64, 64)
    found = read_features(net, images, "map")
    assert found.shape == (2, 4, 512)
    assert torch.allclose(found.mean(dim=1), net(images), atol=1e-6)


def test_places_of_a_map_with_channels_last() -> None:
    net: Any = timm.create_model("test_byobnet", num_classes=0)
    net.output_fmt = "NHWC"
    net.forward_features = lambda x: torch.arange(24.0).reshape(1, 2, 3, 4)
    found = read_features(net, torch.rand(1, 3, 8, 8), "map")
    assert torch.equal(found, torch.arange(24.0).reshape(1, 6, 4))


def test_a_pooled_map_of_one_place_is_flattened() -> None:
    net = nn.AdaptiveAvgPool2d(1)
    assert read_features(net, torch.rand(2, 3, 8, 8), "pooled").shape == (2, 3)


def test_tokens_that_are_not_there_are_refused() -> None:
    resnet = timm.create_model("resnet18", num_classes=0)
    vit = timm.create_model("test_vit", num_classes=0)
    pooled = timm.create_model(
        "test_vit", num_classes=0, class_token=False, global_pool="avg"
    )
    for net, tokens, words in (
        (resnet, "patch", r"'patch'.*ResNet has no tokens.*'map'"),
        (resnet, "class", r"'class'.*ResNet has no tokens"),
        (vit, "map", r"'map'.*made of tokens.*'patch'"),
        (pooled, "class", r"no class token.*'pooled'"),
        (nn.Flatten(), "all", r"Flatten.*forward_features.*'pooled'"),
        (resnet, "cls", r"'cls'.*'class'"),
    ):
        with pytest.raises(ValueError, match=words):
            check_tokens(net, tokens)
