from __future__ import annotations

import importlib
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightly_adv.models import stems
from lightly_adv.threat_model import ThreatModel

FEATURES = {
    "resnet8_tiny": 128,
    "resnet10_small": 512,
    "resnet18_small": 512,
    "resnet34_small": 512,
    "resnet50_small": 2048,
    "resnetv2_18_small": 512,
    "resnetv2_50_small": 2048,
}


def _create(name: str, **kwargs: Any) -> Any:
    return timm.create_model(name, **kwargs)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", FEATURES)
def test_features(name: str) -> None:
    model = _create(name, num_classes=0).eval()
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, FEATURES[name])


def _row(name: str) -> str:
    with torch.device("meta"):
        model = _create(name, num_classes=0).eval()
        image = torch.rand(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        features = model(image).shape[1]
    macs = counter.get_total_flops() / 2 / 1e6
    return f"| `{name}` | {_parameters(model):,} | {features} | {macs:.1f} |"


def test_the_table_in_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs" / "backbones.md"
    shown = re.findall(r"^\| `.*", page.read_text(), flags=re.MULTILINE)
    assert shown == [_row(name) for name in FEATURES]
    assert _row("resnet18").endswith("| 37.0 |")
    assert "takes 37.0 million MACs" in page.read_text()


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50", "resnetv2_18", "resnetv2_50"]
)
def test_only_the_stem_differs_from_timm(name: str) -> None:
    small = _create(f"{name}_small", num_classes=0)
    usual = _create(name, num_classes=0)
    shapes = {key: value.shape for key, value in small.state_dict().items()}
    usual_shapes = {key: value.shape for key, value in usual.state_dict().items()}
    differ = {key for key in usual_shapes if shapes[key] != usual_shapes[key]}
    assert shapes.keys() == usual_shapes.keys()
    assert len(differ) == 1
    assert shapes[differ.pop()] == (64, 3, 3, 3)
    assert _parameters(usual) - _parameters(small) == 3 * 64 * (7 * 7 - 3 * 3)


def test_tiny_parameters_by_hand() -> None:
    stem = 3 * 32 * 16 + 2 * 32
    block1 = 2 * 9 * 32 * 32 + 4 * 32
    block2 = 9 * 32 * 64 + 9 * 64 * 64 + 4 * 64 + (32 * 64 + 2 * 64)
    block3 = 9 * 64 * 128 + 9 * 128 * 128 + 4 * 128 + (64 * 128 + 2 * 128)
    model = _create("resnet8_tiny", num_classes=0)
    assert _parameters(model) == stem + block1 + block2 + block3


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("resnet8_tiny", [16, 16, 8, 4]),
        ("resnet10_small", [32, 32, 16, 8, 4]),
        ("resnetv2_18_small", [32, 32, 16, 8, 4]),
    ],
)
def test_maps_and_reductions(name: str, sizes: list[int]) -> None:
    model = _create(name, features_only=True)
    maps = model(torch.rand(1, 3, 32, 32))
    assert [m.shape[-1] for m in maps] == sizes
    assert model.feature_info.reduction() == [32 // size for size in sizes]


def test_listed_and_without_pretrained_weights() -> None:
    assert set(FEATURES) - {"resnet8_tiny"} <= set(timm.list_models("*_small"))
    assert "resnet8_tiny" in timm.list_models("*_tiny")
    assert timm.list_pretrained("resnet18_small*") == []


def test_other_channels_and_classes() -> None:
    model = _create("resnet8_tiny", in_chans=1, num_classes=7)
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", FEATURES)
def test_config(name: str) -> None:
    model = _create(name, num_classes=3)
    config = model.pretrained_cfg
    assert config["input_size"] == (3, 32, 32)
    assert f"{config['first_conv']}.weight" in model.state_dict()
    assert f"{config['classifier']}.weight" in model.state_dict()
    normalize = ThreatModel.from_timm(model).normalize
    assert normalize == {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def test_same_seed_same_weights_and_scale_of_the_stem() -> None:
    torch.manual_seed(0)
    first = _create("resnet18_small").conv1.weight
    torch.manual_seed(0)
    second = _create("resnet18_small").conv1.weight
    assert torch.equal(first, second)
    expected = (2 / (9 * 64)) ** 0.5  # He initialisation by fan-out
    assert first.std().item() == pytest.approx(expected, rel=0.1)


def test_pretrained_is_refused() -> None:
    with pytest.raises(ValueError, match="no pretrained weights for 'resnet18_small'"):
        _create("resnet18_small", pretrained=True)


def test_reload_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        importlib.reload(stems)
    assert _create("resnet8_tiny", num_classes=0).num_features == 128
