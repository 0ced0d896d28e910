from __future__ import annotations

import copy
import functools
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from lightly.models.batchnorm import get_norm_layer
from lightly.models.utils import get_weight_decay_parameters
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.split_batchnorm import SplitBatchNorm2d
from torch import Tensor, nn

from lightly_adv.isolation import modes, report, routes
from lightly_adv.models import stems as stems  # registers the *_small names
from lightly_adv.models.modules import bn_route, convert_dual_batchnorm, export_route
from lightly_adv.models.modules.dual_layers import DualBatchNorm
from lightly_adv.testing import assert_no_side_effects

ROUTES = ("clean", "adv")


@functools.cache
def created(name: str) -> nn.Module:
    """Draw a network once: most of the time goes into its random weights."""
    if name == "torchvision":
        network: nn.Module = torchvision.models.resnet18(num_classes=3)
    else:
        network = timm.create_model(name, num_classes=3)
    return network


def resnet() -> nn.Module:
    return copy.deepcopy(created("resnet18"))


def resnetv2() -> nn.Module:
    """All of its norms are BatchNormAct2d."""
    return copy.deepcopy(created("resnetv2_18_small"))


def efficientnet() -> nn.Module:
    """Its BatchNormAct2d apply SiLU, drop or nothing."""
    return copy.deepcopy(created("test_efficientnet"))


def from_torchvision() -> nn.Module:
    return copy.deepcopy(created("torchvision"))


class Shared(nn.Module):
    """One layer under two names, and two layers that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm1d(4)
        self.again = self.first
        self.tied = nn.BatchNorm1d(4)
        self.tied.weight = self.first.weight

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.tied(self.again(self.first(features) * 2))
        return output


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(3 * 32 * 32, 4),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        Shared(),
        nn.BatchNorm1d(4, affine=False),
        nn.BatchNorm1d(4, track_running_stats=False),
        nn.BatchNorm1d(4, momentum=None),
        nn.Linear(4, 3),
    )


NETWORKS = [resnet, resnetv2, efficientnet, from_torchvision, mlp]


def scrambled(module: nn.Module) -> nn.Module:
    """Move parameters and statistics away from where they start."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(tensor + 0.2 * noise)
    return module


def pictures(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def dual_layers(module: nn.Module) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, DualBatchNorm)]


def stats(module: nn.Module, route: str) -> list[Tensor]:
    return [buffer.clone() for buffer in routes.buffers_of(module, route)]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) > 0 and all(map(torch.equal, first, second))


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
        expected = reference(pictures())
        torch.manual_seed(0)
        with bn_route(route):
            assert torch.equal(dual(pictures()), expected)
        exported = export_route(dual, route)
        assert same(list(exported.buffers()), list(reference.buffers()))


@pytest.mark.parametrize("create", NETWORKS)
def test_the_default_is_the_first_route_and_others_do_not_move(
    create: Callable[[], nn.Module],
) -> None:
    dual = convert_dual_batchnorm(create())
    clean, adv = stats(dual, "clean"), stats(dual, "adv")
    dual(pictures())
    assert not same(stats(dual, "clean"), clean)
    assert same(stats(dual, "adv"), adv)
    clean = stats(dual, "clean")
    with bn_route("adv"):
        dual(pictures())
    assert same(stats(dual, "clean"), clean)
    assert not same(stats(dual, "adv"), adv)


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
@pytest.mark.parametrize("route", ROUTES)
def test_export_equals_the_route_and_is_plain(
    create: Callable[[], nn.Module], route: str
) -> None:
    plain = create().eval()
    dual = scrambled(convert_dual_batchnorm(copy.deepcopy(plain)))
    before = report.snapshot(dual)
    exported = export_route(dual, route)
    assert before.changes(report.snapshot(dual)) == []
    assert str(exported) == str(plain)
    assert list(exported.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(exported.state_dict())
    with bn_route(route):
        expected = dual(pictures())
    assert torch.equal(exported(pictures()), expected)
    assert torch.equal(plain(pictures()), expected)
    other = ROUTES[1 - ROUTES.index(route)]
    with bn_route(other):
        assert not torch.equal(dual(pictures()), expected)
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
            assert torch.equal(again(pictures()), dual(pictures()))
            assert torch.equal(filled(pictures()), plain(pictures()))
    # The routes of the one that was filled are not tied.
    clean = stats(filled, "clean")
    with bn_route("adv"):
        filled.train()(pictures())
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
    expected = dual(pictures())
    with bn_route("adv"):
        twins = [copy.deepcopy(dual), pickle.loads(pickle.dumps(dual))]
        adversarial = dual(pictures())
    file = io.BytesIO()
    torch.save(dual, file)
    file.seek(0)
    twins.append(torch.load(file, weights_only=False))
    for twin in twins:
        assert torch.equal(twin(pictures()), expected)
        with bn_route("adv"):
            assert torch.equal(twin(pictures()), adversarial)


@pytest.mark.parametrize("create", NETWORKS)
@pytest.mark.parametrize("route", ROUTES)
def test_isolated_evaluations_leave_no_trace(
    create: Callable[[], nn.Module], route: str
) -> None:
    dual = convert_dual_batchnorm(create())

    def run() -> None:
        with bn_route(route):
            dual(pictures())

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


def test_the_flags_of_the_layers_inside_count() -> None:
    dual: Any = convert_dual_batchnorm(resnetv2())
    layers = dual_layers(dual)
    frozen = layers[0].eval()
    modes.set_attack_mode(dual, "batch")
    assert not any(layer.training for layer in layers)
    assert not frozen.routes["adv"].training
    assert all(layer.routes["adv"].training for layer in layers[1:])
    before = [stats(layer, "adv") for layer in layers]
    with bn_route("adv"):
        dual(pictures())
    moved = [not same(stats(each, "adv"), old) for each, old in zip(layers, before)]  # noqa: B905
    assert moved == [False] + [True] * (len(layers) - 1)
    modes.set_attack_mode(dual, "eval")
    assert not any(part.training for part in dual.modules())


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
            expected[route] = dual(pictures())

    def check(module: nn.Module) -> None:
        for route in ROUTES:
            with bn_route(route):
                assert torch.equal(module(pictures()), expected[route])
            exported = export_route(module, route)
            assert str(exported) == str(plain)
            assert torch.equal(exported(pictures()), expected[route])

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
        assert torch.equal(dual(pictures()), exported(pictures()))


def test_other_subclasses_are_kept_whole() -> None:
    split = get_norm_layer(8, num_splits=2)
    dual: Any = convert_dual_batchnorm(nn.Sequential(nn.Conv2d(3, 8, 1), split))
    assert type(dual[1].routes["adv"]) is type(split)
    with bn_route("adv"):
        expected = dual(pictures())
    assert torch.equal(export_route(dual, "adv")(pictures()), expected)
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
        dual(pictures()).sum().backward()
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
        dual(pictures()).sum().backward()


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
