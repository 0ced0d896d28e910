"""Low-rank updates: at first nothing, merged exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lightly_adv.models import create_backbone
from lightly_adv.models.lora import LowRank, add_lora, merged


def network() -> nn.Module:
    torch.manual_seed(0)
    return create_backbone("resnet8_tiny").eval()


def images() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def move(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


def test_it_begins_with_the_same_answers() -> None:
    plain, changed = network(), network()
    add_lora(changed, 4)
    assert torch.equal(plain(images()), changed(images()))


def test_merged_answers_and_keys() -> None:
    changed = network()
    keys = list(changed.state_dict())
    add_lora(changed, 4)
    move(changed)
    expected = changed(images())
    assert not torch.allclose(expected, network()(images()), rtol=1e-3)
    found = merged(changed)
    assert torch.allclose(found(images()), expected, atol=1e-6)
    assert list(found.state_dict()) == keys
    # The network itself goes on training.
    assert torch.equal(changed(images()), expected)
    assert any("down" in name for name, _ in changed.named_parameters())
    assert type(found.get_submodule("conv1")) is nn.Conv2d


def test_the_update_is_the_product_of_two_matrices() -> None:
    layer = nn.Conv2d(4, 6, 3, groups=2)
    weight = layer.weight.detach().clone()
    add_lora(nn.Sequential(layer), 2)
    move(layer)
    update = layer.parametrizations.weight[0]  # type: ignore[union-attr,index]
    assert isinstance(update, LowRank)
    product = torch.einsum("or,rc->oc", update.up, update.down).reshape(6, 2, 3, 3)
    assert torch.allclose(layer.weight, weight + product, atol=1e-6)
    assert torch.linalg.matrix_rank((layer.weight - weight).reshape(6, -1)) == 2


def test_only_the_updates_train() -> None:
    changed = network()
    add_lora(changed, 4)
    trained = {n for n, p in changed.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.endswith((".up", ".down")) for name in trained)


def test_a_rank_is_cut_to_that_of_the_weight() -> None:
    layer = nn.Linear(3, 50)
    add_lora(nn.Sequential(layer), 8)
    assert layer.parametrizations.weight[0].up.shape == (50, 3)  # type: ignore[union-attr,index]


def test_layers_that_cannot_have_it_are_refused() -> None:
    mixed = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match=r"'1'.*BatchNorm1d.*linear"):
        add_lora(mixed, 1, layers=["1"])
    with pytest.raises(ValueError, match=r"'2'.*no such layer"):
        add_lora(mixed, 1, layers=["2"])
    with pytest.raises(ValueError, match="no linear"):
        add_lora(nn.Sequential(nn.ReLU()), 1)
    with pytest.raises(ValueError, match=r"rank=0.*at least 1"):
        add_lora(mixed, 0)
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"'0'.*merge these"):
        add_lora(normed, 1)
