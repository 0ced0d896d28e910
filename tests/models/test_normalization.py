from __future__ import annotations

import pytest
import timm
import torch
from lightly.transforms import utils as lightly_utils
from torch import nn
from torchvision.transforms.v2 import functional as tv

from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.models import IMAGENET_NORMALIZE, Normalize
from lightly_adv.models.normalization import normalization_of, resolve_normalize


def test_equals_torchvision() -> None:
    pixels = torch.rand(4, 3, 8, 8)
    mean, std = map(list, (IMAGENET_NORMALIZE["mean"], IMAGENET_NORMALIZE["std"]))
    expected = tv.normalize(pixels, mean=mean, std=std)
    assert torch.equal(Normalize(IMAGENET_NORMALIZE)(pixels), expected)


def test_constants_are_those_of_lightly() -> None:
    for key, values in lightly_utils.IMAGENET_NORMALIZE.items():
        assert list(IMAGENET_NORMALIZE[key]) == values


def test_stack_of_tiles() -> None:
    layer, tiles = Normalize(IMAGENET_NORMALIZE), torch.rand(2, 16, 3, 4, 4)
    assert torch.equal(layer(tiles)[1, 5], layer(tiles[1, 5]))


def test_moves_with_the_module_but_stays_out_of_checkpoints() -> None:
    layer = Normalize(IMAGENET_NORMALIZE)
    assert layer.state_dict() == {}
    assert layer.double()(torch.rand(1, 3, 2, 2).double()).dtype == torch.float64


def test_is_differentiable() -> None:
    pixels = torch.rand(1, 3, 2, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(Normalize(IMAGENET_NORMALIZE)(pixels).sum(), pixels)
    expected = 1 / torch.tensor(IMAGENET_NORMALIZE["std"])
    assert torch.allclose(grad[0, :, 0, 0], expected)


def test_wrong_channels() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) do not have 3 channels"):
        Normalize(IMAGENET_NORMALIZE)(torch.rand(2, 1, 4, 4))


@pytest.mark.parametrize("std", [[0.5, 0.5], [0.0], [-1.0]])
def test_wrong_statistics(std: list[float]) -> None:
    with pytest.raises(ValueError, match="one mean and one positive std per channel"):
        Normalize({"mean": [0.5], "std": std})


def test_repr() -> None:
    assert repr(Normalize({"mean": [0.5], "std": [0.25]})) == (
        "Normalize(mean=[0.5], std=[0.25])"
    )


HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224", "resnetv2_50"])
def test_backbones_with_a_mean_of_one_half(name: str) -> None:
    with torch.device("meta"):
        backbone: nn.Module = timm.create_model(name, num_classes=0)
    assert normalization_of(backbone) == HALF


@pytest.mark.parametrize("name", ["resnet8_tiny", "convnext_atto", "regnetx_002"])
def test_backbones_with_the_mean_of_imagenet(name: str) -> None:
    with torch.device("meta"):
        backbone: nn.Module = timm.create_model(name, num_classes=0)
    assert normalization_of(backbone) == IMAGENET_NORMALIZE


def test_backbones_without_a_configuration() -> None:
    backbone = nn.Flatten()
    assert normalization_of(backbone) == IMAGENET_NORMALIZE
    backbone.pretrained_cfg = {"mean": None}  # type: ignore[assignment]
    assert normalization_of(backbone) == IMAGENET_NORMALIZE


def test_the_configuration_survives_conversion_and_compilation() -> None:
    backbone: nn.Module = timm.create_model("test_resnet", num_classes=0)
    assert normalization_of(convert_dual_batchnorm(backbone)) == HALF
    compiled: nn.Module = torch.compile(backbone)  # type: ignore[assignment]
    assert normalization_of(compiled) == HALF


def test_resolving() -> None:
    backbone: nn.Module = timm.create_model("test_vit", num_classes=0)
    given = {"mean": [0.1], "std": [0.2]}
    assert resolve_normalize("auto", backbone) == HALF
    assert resolve_normalize(None, backbone) is None
    assert resolve_normalize(given, backbone) is given
    with pytest.raises(ValueError, match=r"'imagenet' is unknown; use 'auto', None"):
        resolve_normalize("imagenet", backbone)  # type: ignore[arg-type]
