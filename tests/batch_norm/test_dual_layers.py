from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightly.models.batchnorm import get_norm_layer
from lightly.models.utils import get_weight_decay_parameters
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.split_batchnorm import SplitBatchNorm2d
from torch import nn

from lightly_adv.batch_norm import bn_route, convert_dual_batchnorm, export_route
from lightly_adv.isolation import modes
from tests.batch_norm.networks import (
    NETWORKS,
    ROUTES,
    dual_layers,
    images,
    mlp,
    resnet,
    resnetv2,
    same,
    scrambled,
    stats,
)


def test_statistics_are_those_of_the_definition() -> None:
    layer: Any = convert_dual_batchnorm(nn.BatchNorm2d(3, momentum=0.25))
    mean, var = torch.zeros(3), torch.ones(3)
    for step in range(3):
        batch = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        layer(batch * 7)
        with bn_route("adv"):
            layer(batch)
        mean = 0.75 * mean + 0.25 * batch.mean(dim=(0, 2, 3))
        var = 0.75 * var + 0.25 * batch.var(dim=(0, 2, 3), unbiased=True)
    found = layer.routes["adv"]
    assert torch.allclose(found.running_mean, mean, atol=1e-6)
    assert torch.allclose(found.running_var, var, atol=1e-6)
    batch, layer = torch.randn(5, 3, 2, 2), layer.eval()
    expected = (batch - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
    with bn_route("adv"):
        assert torch.allclose(layer(batch), expected, atol=1e-5)


@pytest.mark.parametrize("create", NETWORKS)
def test_state_dict_round_trip_and_plain_checkpoints(
    create: Callable[[], nn.Module],
) -> None:
    dual = scrambled(convert_dual_batchnorm(create())).eval()
    again = convert_dual_batchnorm(create()).eval()
    again.load_state_dict(dual.state_dict())
    plain = scrambled(create()).eval()
    filled = convert_dual_batchnorm(create()).eval()
    filled.load_state_dict(plain.state_dict(), assign=True)
    for route in ROUTES:
        with bn_route(route):
            assert torch.equal(again(images()), dual(images()))
            assert torch.equal(filled(images()), plain(images()))
    # The routes of the one that was filled are not tied.
    clean = stats(filled, "clean")
    with bn_route("adv"):
        filled.train()(images())
    assert same(stats(filled, "clean"), clean)


def test_checkpoints_that_do_not_fit_are_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    dual = convert_dual_batchnorm(copy.deepcopy(network))
    state = dual.state_dict()
    with pytest.raises(RuntimeError, match=r"1\.routes\.clean\.weight"):
        network.load_state_dict(state)
    plain = network.state_dict()
    del plain["1.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*1\.routes\.adv\.weight"):
        dual.load_state_dict(plain)
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"1\.weight"'):
        dual.load_state_dict({**state, "1.weight": torch.ones(3)})


@pytest.mark.parametrize("create", NETWORKS)
def test_copies_and_pickles_know_nothing_of_the_block(
    create: Callable[[], nn.Module],
) -> None:
    dual = scrambled(convert_dual_batchnorm(create())).eval()
    expected = dual(images())
    with bn_route("adv"):
        twins = [copy.deepcopy(dual), pickle.loads(pickle.dumps(dual))]
        adversarial = dual(images())
    file = io.BytesIO()
    torch.save(dual, file)
    file.seek(0)
    twins.append(torch.load(file, weights_only=False))
    for twin in twins:
        assert torch.equal(twin(images()), expected)
        with bn_route("adv"):
            assert torch.equal(twin(images()), adversarial)


def test_the_flags_of_the_layers_inside_count() -> None:
    dual: Any = convert_dual_batchnorm(resnetv2())
    layers = dual_layers(dual)
    frozen = layers[0].eval()
    modes.set_attack_mode(dual, "batch")
    assert not frozen.routes["adv"].training
    assert all(layer.routes["adv"].training for layer in layers[1:])
    before = [stats(layer, "adv") for layer in layers]
    with bn_route("adv"):
        dual(images())
    moved = [not same(stats(each, "adv"), old) for each, old in zip(layers, before)]  # noqa: B905
    assert moved == [False] + [True] * (len(layers) - 1)
    modes.set_attack_mode(dual, "eval")
    assert not any(layer.routes["adv"].training for layer in layers)


@pytest.mark.parametrize("create", NETWORKS)
def test_export_keeps_flags(create: Callable[[], nn.Module]) -> None:
    plain = create()
    first = next(each for each in plain.modules() if "Norm" in type(each).__name__)
    first.eval()
    expected = {name: each.training for name, each in plain.named_modules()}
    exported = export_route(convert_dual_batchnorm(plain), "adv")
    assert {name: each.training for name, each in exported.named_modules()} == expected


@pytest.mark.parametrize("create", NETWORKS)
def test_synchronisation_before_and_after(create: Callable[[], nn.Module]) -> None:
    plain = create().eval()
    dual = scrambled(convert_dual_batchnorm(copy.deepcopy(plain)))
    expected = {}
    for route in ROUTES:
        with bn_route(route):
            expected[route] = dual(images())

    def check(module: nn.Module) -> None:
        for route in ROUTES:
            with bn_route(route):
                assert torch.equal(module(images()), expected[route])
            exported = export_route(module, route)
            assert str(exported) == str(plain)
            assert torch.equal(exported(images()), expected[route])

    synchronised = TorchSyncBatchNorm().apply(copy.deepcopy(dual))
    layers = dual_layers(synchronised)
    assert len(layers) == len(dual_layers(dual))
    assert {type(layer.routes["adv"]) for layer in layers} == {nn.SyncBatchNorm}
    check(synchronised)
    # Lightning undoes it after fitting, and leaves its own class in train mode.
    check(TorchSyncBatchNorm().revert(synchronised).eval())


def test_layers_that_are_synchronised_already() -> None:
    network: Any = nn.Sequential(nn.SyncBatchNorm(3)).eval()
    dual = scrambled(convert_dual_batchnorm(copy.deepcopy(network)))
    exported = export_route(dual, "adv")
    assert str(exported) == str(network)
    with bn_route("adv"):
        assert torch.equal(dual(images()), exported(images()))


def test_other_subclasses_are_kept_whole() -> None:
    split = get_norm_layer(8, num_splits=2)
    dual: Any = convert_dual_batchnorm(nn.Sequential(nn.Conv2d(3, 8, 1), split))
    assert type(dual[1].routes["adv"]) is type(split)
    with bn_route("adv"):
        expected = dual(images())
    assert torch.equal(export_route(dual, "adv")(images()), expected)
    create: Any = SplitBatchNorm2d
    inner = convert_dual_batchnorm(nn.Sequential(create(3)))
    assert len(dual_layers(inner)) == 1
    assert list(export_route(inner, "adv").state_dict()) == [
        key.replace("routes.adv.", "") for key in inner.state_dict() if "adv" in key
    ]


def test_activations_are_shared_and_keep_their_keys() -> None:
    network = nn.Sequential(BatchNormAct2d(3, act_layer=nn.PReLU))
    keys = list(network.state_dict())
    dual = convert_dual_batchnorm(network)
    assert "0.act.weight" in keys
    assert "0.act.weight" in dual.state_dict()
    assert list(export_route(dual, "adv").state_dict()) == keys


def test_weight_decay_leaves_every_route_out() -> None:
    plain = resnetv2()
    _, undecayed = get_weight_decay_parameters([plain])
    decayed, both = get_weight_decay_parameters([convert_dual_batchnorm(plain)])
    norms = sum(isinstance(each, BatchNormAct2d) for each in resnetv2().modules())
    assert len(both) == len(undecayed) + 2 * norms
    assert all(each.dim() > 1 for each in decayed)


def test_gradients_reach_the_route_that_was_taken() -> None:
    dual: Any = convert_dual_batchnorm(mlp())
    with bn_route("adv"):
        dual(images()).sum().backward()
    layer = dual[2]
    assert layer.routes["adv"].weight.grad is not None
    assert layer.routes["clean"].weight.grad is None


def test_compiled_networks_follow_the_route() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    dual = scrambled(convert_dual_batchnorm(network)).eval()
    compiled = torch.compile(dual, backend="eager", fullgraph=True)
    features = torch.randn(5, 3)
    for route in (*ROUTES, *ROUTES):
        with bn_route(route):
            assert torch.allclose(compiled(features), dual(features), atol=1e-6)
    assert torch.allclose(compiled(features), dual(features), atol=1e-6)


def test_gradient_checkpointing_is_refused() -> None:
    network = resnet()
    network.set_grad_checkpointing()  # type: ignore[operator]
    dual = convert_dual_batchnorm(network)
    with pytest.raises(RuntimeError, match=r"set_grad_checkpointing\(False\)"):
        dual(images()).sum().backward()
