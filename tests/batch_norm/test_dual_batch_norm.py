from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import nn

from lightly_adv.batch_norm import bn_route, convert_dual_batchnorm, export_route
from lightly_adv.batch_norm.dual_layers import DualBatchNorm
from lightly_adv.isolation import leaks
from lightly_adv.testing import assert_no_side_effects
from tests.batch_norm.networks import (
    NETWORKS,
    ROUTES,
    Shared,
    images,
    same,
    scrambled,
    stats,
)


@pytest.mark.parametrize("create", NETWORKS)
@pytest.mark.parametrize("training", [False, True])
def test_every_route_starts_as_the_network_was(
    create: Callable[[], nn.Module], training: bool
) -> None:
    plain = scrambled(create()).train(training)
    dual = convert_dual_batchnorm(copy.deepcopy(plain))
    for route in ROUTES:
        # Statistics in train mode move, and are part of what has to agree.
        reference = copy.deepcopy(plain)
        torch.manual_seed(0)
        expected = reference(images())
        torch.manual_seed(0)
        with bn_route(route):
            assert torch.equal(dual(images()), expected)
        exported = export_route(dual, route)
        assert same(list(exported.buffers()), list(reference.buffers()))


@pytest.mark.parametrize("create", NETWORKS)
def test_the_default_is_the_first_route_and_others_do_not_move(
    create: Callable[[], nn.Module],
) -> None:
    dual = convert_dual_batchnorm(create())
    clean, adv = stats(dual, "clean"), stats(dual, "adv")
    dual(images())
    assert not same(stats(dual, "clean"), clean)
    assert same(stats(dual, "adv"), adv)
    clean = stats(dual, "clean")
    with bn_route("adv"):
        dual(images())
    assert same(stats(dual, "clean"), clean)
    assert not same(stats(dual, "adv"), adv)


@pytest.mark.parametrize("create", NETWORKS)
@pytest.mark.parametrize("route", ROUTES)
def test_export_equals_the_route_and_is_plain(
    create: Callable[[], nn.Module], route: str
) -> None:
    plain = create().eval()
    dual = scrambled(convert_dual_batchnorm(copy.deepcopy(plain)))
    before = leaks.snapshot(dual)
    exported = export_route(dual, route)
    assert before.changes(leaks.snapshot(dual)) == []
    assert str(exported) == str(plain)
    assert list(exported.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(exported.state_dict())
    with bn_route(route):
        expected = dual(images())
    assert torch.equal(exported(images()), expected)
    assert torch.equal(plain(images()), expected)
    other = ROUTES[1 - ROUTES.index(route)]
    with bn_route(other):
        assert not torch.equal(dual(images()), expected)
    storages = {each.data_ptr() for each in dual.state_dict().values() if each.numel()}
    assert not storages & {
        each.data_ptr() for each in exported.state_dict().values() if each.numel()
    }


@pytest.mark.parametrize("create", NETWORKS)
def test_all_other_keys_and_parameters_stay(create: Callable[[], nn.Module]) -> None:
    network = create()
    before = dict(network.named_parameters())
    dual = convert_dual_batchnorm(network)
    assert dual is network
    after = dict(dual.named_parameters())
    kept = [name for name in before if name in after]
    assert all(after[name] is before[name] for name in kept)
    clean = [name for name in after if ".adv." not in name]
    assert [name.replace(".routes.clean", "") for name in clean] == list(before)
    for name in set(before) - set(kept):
        prefix, _, leaf = name.rpartition(".")
        assert after[f"{prefix}.routes.clean.{leaf}"] is before[name]
        assert after[f"{prefix}.routes.adv.{leaf}"] is not before[name]


@pytest.mark.parametrize("create", NETWORKS)
@pytest.mark.parametrize("route", ROUTES)
def test_isolated_evaluations_leave_no_trace(
    create: Callable[[], nn.Module], route: str
) -> None:
    dual = convert_dual_batchnorm(create())

    def run() -> None:
        with bn_route(route):
            dual(images())

    assert_no_side_effects(dual, run)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet_gn"])
def test_without_batchnorm_it_passes_through_with_one_notice(name: str) -> None:
    network = timm.create_model(name, num_classes=3)
    keys = list(network.state_dict())
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        assert convert_dual_batchnorm(network) is network
    (notice,) = notices
    assert "has no BatchNorm layer and stays as it is" in str(notice.message)
    assert notice.filename == __file__
    assert list(network.state_dict()) == keys
    with bn_route("adv"):
        assert network.eval()(torch.rand(1, 3, 160, 160)).shape == (1, 3)


def test_shared_layers_stay_shared() -> None:
    shared = Shared()
    dual: Any = convert_dual_batchnorm(shared)
    assert dual.first is dual.again
    for route in ROUTES:
        assert dual.first.routes[route].weight is dual.tied.routes[route].weight
    assert dual.first.routes["adv"].weight is not dual.first.routes["clean"].weight
    exported: Any = export_route(dual, "adv")
    assert exported.first is exported.again
    assert exported.first.weight is exported.tied.weight


def test_more_routes_and_a_layer_by_itself() -> None:
    layer: Any = convert_dual_batchnorm(nn.BatchNorm3d(2), routes=["a", "b", "c"])
    assert isinstance(layer, DualBatchNorm)
    batch = torch.randn(4, 2, 3, 3, 3)
    layer(batch)
    with bn_route("c"):
        layer(batch), layer(batch)
    counts = [int(each) for each in layer.buffers() if each.dim() == 0]
    assert counts == [1, 0, 2]
    assert type(export_route(layer, "b")) is nn.BatchNorm3d


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())


def hooked() -> nn.Module:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    network[1].register_forward_hook(print)
    return network


def converted() -> nn.Module:
    return convert_dual_batchnorm(nn.Sequential(nn.BatchNorm1d(2)))


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (converted, r"0 has the routes \('clean', 'adv'\) already"),
        (lazy, r"1 is a LazyBatchNorm1d, which has no shape yet; run one forward"),
        (hooked, r"1 has hooks \(_forward_hooks\)"),
    ],
)
def test_modules_that_cannot_be_converted_stay_as_they_were(
    create: Callable[[], nn.Module], message: str
) -> None:
    network = create()
    before = str(network)
    with pytest.raises(ValueError, match=message):
        convert_dual_batchnorm(network)
    assert str(network) == before


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("adv", r"routes='adv' are too few or not distinct"),
        (("adv",), r"expected at least two names"),
        (("adv", "adv"), r"not distinct"),
        (("clean", "a.b"), r"the route 'a.b' cannot be part of a key"),
        (("clean", "pop"), r"the route 'pop' cannot be part of a key"),
        (("clean", "training"), r"the route 'training' cannot be part of a key"),
        (("clean", 1), r"the route 1 cannot be part of a key"),
    ],
)
def test_names_that_do_not_do_are_refused(names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert_dual_batchnorm(nn.BatchNorm1d(2), routes=names)


def test_other_misuse_is_refused() -> None:
    with pytest.raises(TypeError, match=r"module is a str; expected a torch.nn.Module"):
        convert_dual_batchnorm("resnet18")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Linear has no layer with several routes"):
        export_route(nn.Linear(2, 2), "adv")
    with pytest.raises(ValueError, match=r"\['pgd'\] is needed here"):
        export_route(converted(), "pgd")
