"""Exactly the part that is asked for takes a gradient."""

from __future__ import annotations

import pytest
import timm
from torch import nn

from lightly_adv.models.trained_parts import train_only


def trained(name: str, trainable: str) -> set[str]:
    backbone = timm.create_model(name, num_classes=0)
    train_only(backbone, trainable)
    return {n for n, p in backbone.named_parameters() if p.requires_grad}


def roots(names: set[str], parts: int) -> set[str]:
    return {".".join(name.split(".")[:parts]) for name in names}


def test_blocks_of_a_vit() -> None:
    first = roots(trained("test_vit", "first:2"), 2)
    assert first == {
        *("cls_token", "pos_embed", "patch_embed.proj"),
        *("blocks.0", "blocks.1"),
    }
    last = roots(trained("test_vit", "last:1"), 2)
    assert last == {"blocks.5", "norm.weight", "norm.bias"}


def test_stages_of_a_convolutional_network() -> None:
    assert roots(trained("resnet18", "first:1"), 1) == {"conv1", "bn1", "layer1"}
    assert roots(trained("resnet18", "last:2"), 1) == {"layer3", "layer4"}


def test_norms() -> None:
    names = trained("test_vit", "norm")
    assert names
    assert all(".norm" in name or name.startswith("norm") for name in names)
    assert len(trained("resnet18", "norm")) == 40


def test_all() -> None:
    backbone = timm.create_model("resnet18", num_classes=0)
    train_only(backbone, "all")
    assert all(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("word", ["", "first", "last:0", "lora:-1", "blocks:2"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match=rf"trainable='{word}'.*'last:K'"):
        trained("resnet18", word)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"9 blocks.*has 4.*expected 1 to 4"):
        trained("resnet18", "last:9")
    with pytest.raises(ValueError, match=r"Sequential.*no normalisation"):
        train_only(nn.Sequential(nn.Linear(2, 2)), "norm")
    with pytest.raises(ValueError, match=r"Sequential.*group_matcher"):
        train_only(nn.Sequential(nn.Linear(2, 2)), "last:1")
