"""ResNets for small images, under their own names in timm's registry.

A 32 x 32 image that passes the usual stem (7 x 7 convolution, stride 2, then a
max-pool) leaves maps of 8 x 8 for the first stage. The `*_small` networks keep all
32 x 32 positions: 3 x 3 convolution, stride 1, no pool. `resnet8_tiny` is small
enough to train on a CPU. Importing this module is what registers the names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import timm
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers.create_conv2d import create_conv2d
from timm.layers.norm_act import BatchNormAct2d
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from torch import nn

Builder = Callable[..., nn.Module]


class SmallStemResNet(ResNet):
    """A timm ResNet whose stem is one convolution, without a pool behind it.

    Args:
        *args: As in `timm.models.resnet.ResNet`.
        stem_kernel: Kernel size of the stem.
        stem_stride: Stride of the stem.
        **kwargs: As in `timm.models.resnet.ResNet`.
    """

    def __init__(
        self, *args: Any, stem_kernel: int = 3, stem_stride: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        conv = _stem_conv(
            self.conv1,
            info=self.feature_info[0],
            kernel_size=stem_kernel,
            stride=stem_stride,
        )
        self.add_module("conv1", conv)
        self.add_module("maxpool", nn.Identity())
        if not hasattr(self, "layer4"):  # timm's forward calls four stages
            self.add_module("layer4", nn.Sequential())
        _correct_reductions(self.feature_info, stem_stride)


class SmallStemResNetV2(ResNetV2):
    """A timm pre-activation ResNet with a 3 x 3 stem of stride 1 and no pool."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        info = self.feature_info[0]
        conv = _stem_conv(self.stem, info=info, kernel_size=3, stride=1)
        self.stem = nn.Sequential(OrderedDict(conv=conv))
        _correct_reductions(self.feature_info, 1)


def _stem_conv(
    stem: nn.Module, *, info: Mapping[str, Any], kernel_size: int, stride: int
) -> nn.Conv2d:
    """Return a convolution for the images, device and dtype of an existing stem."""
    first = next(m for m in stem.modules() if isinstance(m, nn.Conv2d))
    conv = nn.Conv2d(
        first.in_channels,
        info["num_chs"],
        kernel_size,
        stride=stride,
        padding=1,
        bias=False,
        device=first.weight.device,
        dtype=first.weight.dtype,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _correct_reductions(feature_info: list[dict[str, Any]], stem_stride: int) -> None:
    """Say how much smaller than the image each map is; timm assumes 2 and 4."""
    stem, *stages = feature_info
    stem["reduction"] = stem_stride
    for stage in stages:
        stage["reduction"] = stage["reduction"] * stem_stride // 4


def _config(first_conv: str, classifier: str) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 32, 32),
        "pool_size": (4, 4),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": first_conv,
        "classifier": classifier,
    }


default_cfgs = generate_default_cfgs(
    {
        "resnet8_tiny": _config("conv1", "fc"),
        "resnet10_small": _config("conv1", "fc"),
        "resnet18_small": _config("conv1", "fc"),
        "resnet34_small": _config("conv1", "fc"),
        "resnet50_small": _config("conv1", "fc"),
        "resnetv2_18_small": _config("stem.conv", "head.fc"),
        "resnetv2_50_small": _config("stem.conv", "head.fc"),
    }
)
"""What `register_model` looks up: mean, std and input size of each network."""


def _register(builder: Builder) -> Builder:
    """Register with timm, once: a second import of this module stays silent."""
    name = builder.__name__
    known = timm.is_model(name) and timm.models.model_entrypoint(name)
    if not known or known.__module__ != __name__:
        register_model(builder)
    return builder


def _names_weights(config: Any) -> bool:
    """Whether a configuration names weights, as that of an exported folder does."""
    if isinstance(config, Mapping):
        return any(config.get(key) for key in ("file", "hf_hub_id", "url"))
    return bool(getattr(config, "has_weights", False))


def _build(
    network: type[nn.Module], name: str, *, pretrained: bool, **kwargs: Any
) -> nn.Module:
    if pretrained and not _names_weights(kwargs.get("pretrained_cfg")):
        raise ValueError(
            f"pretrained=True, but there are no pretrained weights for {name!r}; use "
            "pretrained=False and lightly_adv.models.load_backbone(backbone, path)."
        )
    model: nn.Module = build_model_with_cfg(network, name, pretrained, **kwargs)
    return model


def _resnet(name: str, *, pretrained: bool, **kwargs: Any) -> nn.Module:
    stages = len(kwargs["layers"])
    features = {"out_indices": tuple(range(stages + 1))}
    return _build(
        SmallStemResNet, name, pretrained=pretrained, feature_cfg=features, **kwargs
    )


def _resnetv2(name: str, *, pretrained: bool, **kwargs: Any) -> nn.Module:
    layers = {"conv_layer": create_conv2d, "norm_layer": BatchNormAct2d}
    features = {"flatten_sequential": True}
    return _build(
        SmallStemResNetV2,
        name,
        pretrained=pretrained,
        feature_cfg=features,
        **(layers | kwargs),
    )


@_register
def resnet8_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return a ResNet of 308,032 parameters and 128 features, for a CPU.

    Stem 4 x 4 with stride 2 (maps of 16 x 16 for images of 32 x 32), then one basic
    block at each of 32, 64 and 128 channels. Unlike timm's, its blocks do not begin as
    the identity: in the few hundred steps that it is made for, that costs accuracy.
    """
    shape = {"layers": (1, 1, 1), "channels": (32, 64, 128)}
    network = {**shape, "zero_init_last": False}
    # Among timm's stems only the deep one has a free width, twice `stem_width`.
    stem = {"stem_type": "deep", "stem_width": 16, "stem_kernel": 4, "stem_stride": 2}
    arguments = {"block": BasicBlock, **network, **stem, **kwargs}
    return _resnet("resnet8_tiny", pretrained=pretrained, **arguments)


@_register
def resnet10_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return a ResNet-10 with a small-image stem and 512 features."""
    arguments = {"block": BasicBlock, "layers": (1, 1, 1, 1), **kwargs}
    return _resnet("resnet10_small", pretrained=pretrained, **arguments)


@_register
def resnet18_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return a ResNet-18 with a small-image stem and 512 features."""
    arguments = {"block": BasicBlock, "layers": (2, 2, 2, 2), **kwargs}
    return _resnet("resnet18_small", pretrained=pretrained, **arguments)


@_register
def resnet34_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return a ResNet-34 with a small-image stem and 512 features."""
    arguments = {"block": BasicBlock, "layers": (3, 4, 6, 3), **kwargs}
    return _resnet("resnet34_small", pretrained=pretrained, **arguments)


@_register
def resnet50_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return a ResNet-50 with a small-image stem and 2048 features."""
    arguments = {"block": Bottleneck, "layers": (3, 4, 6, 3), **kwargs}
    return _resnet("resnet50_small", pretrained=pretrained, **arguments)


@_register
def resnetv2_18_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return a pre-activation ResNet-18, small-image stem, 512 features."""
    blocks = {"basic": True, "bottle_ratio": 1.0, "channels": (64, 128, 256, 512)}
    arguments = {"layers": (2, 2, 2, 2), **blocks, **kwargs}
    return _resnetv2("resnetv2_18_small", pretrained=pretrained, **arguments)


@_register
def resnetv2_50_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return a pre-activation ResNet-50, small-image stem, 2048 features."""
    arguments = {"layers": (3, 4, 6, 3), **kwargs}
    return _resnetv2("resnetv2_50_small", pretrained=pretrained, **arguments)
