from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightly_adv.isolation import folding, modes, routes
from lightly_adv.isolation.folding import folded_batch_norm
from lightly_adv.models.modules import convert_dual_batchnorm
from tests.models.modules import networks

Network = TypeVar("Network", bound=nn.Module)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collect the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))

    def count(self, part: str) -> int:
        return sum(part in name for name in self.names)


def operations(run: Callable[[], Any]) -> Operations:
    found = Operations()
    with found:
        run()
    return found


def evaluated(module: Network) -> Network:
    """Return a network as attacks see it, in double precision."""
    networks.scrambled(module).double().eval().requires_grad_(False)
    return module


def pictures(size: int = 32, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, channels, size, size, generator=generator).double()


def derivatives(module: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the output, the gradient of its square, and that of the gradient's."""
    leaf = images.clone().requires_grad_()
    output = module(leaf)
    (first,) = torch.autograd.grad(output.square().sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), leaf)
    return [output.detach(), first.detach(), second]


def assert_same(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert type(one) is Tensor
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def resnet() -> nn.Module:
    return copy.deepcopy(networks.created("resnet8_tiny"))


def resnetv2() -> nn.Module:
    channels = (8, 8, 16, 16)
    module: nn.Module = timm.create_model("resnetv2_18_small", channels=channels)
    return module


def densenet() -> nn.Module:
    module: nn.Module = torchvision.models.DenseNet(4, (2, 2), num_init_features=8)
    return module


class Simple(nn.Module):
    """One convolution in front of one BatchNorm layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.norm(self.conv(images))
        return output


class Before(Simple):
    """The output of its convolution goes past BatchNorm, too, and first."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        assert maps.shape[1] == 4
        output: Tensor = torch.cat([maps.detach() ** 2, maps, self.norm(maps)], dim=1)
        return output


class After(Simple):
    """The output of its convolution goes past BatchNorm, too, and later."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        output: Tensor = torch.cat([self.norm(maps), maps, maps.detach() ** 2], dim=1)
        return output


class Unrecorded(Simple):
    """The output of its convolution is first asked for where autograd is off."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        with torch.no_grad():
            centre = maps.mean()
        with torch.no_grad():
            unrecorded = self.conv(images * 2)
        output: Tensor = self.norm(maps - centre) + self.norm(unrecorded)
        return output


class InPlace(Simple):
    """The output of its convolution is changed before BatchNorm sees it."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        maps += 1
        maps.mul_(2)
        output: Tensor = self.norm(maps) + self.norm(self.conv(images))
        return output


class Tied(Simple):
    """One convolution in front of two BatchNorm layers, in two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm2d(4, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.norm(self.conv(images)) * self.other(self.conv(images))
        return output


class Settings(nn.Module):
    """Convolutions of every kind that keep their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=2, stride=2, bias=False),
            nn.BatchNorm2d(8, eps=0.1),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, padding_mode="reflect"),
            nn.BatchNorm2d(8, affine=False),
            nn.ReLU(inplace=True),
        )

    def forward(self, images: Tensor) -> Tensor:
        four = torch.cat([images, images[:, :1]], dim=1)
        output: Tensor = self.layers(four)
        return output


@pytest.mark.parametrize(
    "create",
    [
        resnet,
        resnetv2,
        densenet,
        networks.efficientnet,
        networks.mlp,
        Simple,
        Before,
        After,
        Unrecorded,
        InPlace,
        Tied,
        Settings,
    ],
    ids=lambda create: create.__name__,
)
def test_outputs_and_derivatives_are_the_same(
    create: Callable[[], nn.Module],
) -> None:
    module = evaluated(create())
    expected = derivatives(module, pictures())
    with folded_batch_norm(module):
        found = derivatives(module, pictures())
        again = derivatives(module, pictures())  # from the cache
    assert_same(found, expected)
    assert_same(again, expected)


@pytest.mark.parametrize(
    ("create", "left"),
    [
        (resnet, 0),
        (networks.efficientnet, 0),
        (resnetv2, 9),  # those that come before a convolution, not after
        (Simple, 0),
        (After, 0),
        (Settings, 0),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_batch_norm_is_not_computed(create: Callable[[], nn.Module], left: int) -> None:
    module = evaluated(create())
    with folded_batch_norm(module):
        found = operations(lambda: module(pictures()))
    assert found.count("batch_norm") == left
    assert operations(lambda: module(pictures())).count("batch_norm") > left


def test_nothing_is_computed_twice() -> None:
    module = evaluated(resnet())
    with folded_batch_norm(module):
        found = operations(lambda: module(pictures()))
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert found.count("aten.convolution") == len(convolutions)


def test_the_weights_are_folded_once() -> None:
    module = evaluated(resnet())
    with folded_batch_norm(module):
        first = operations(lambda: module(pictures()))
        later = operations(lambda: module(pictures()))
    assert first.count("rsqrt") == 9
    assert later.count("rsqrt") == 0


def test_statistics_that_are_replaced_are_folded_anew() -> None:
    module = evaluated(Simple())
    with folded_batch_norm(module):
        module(pictures())
        module.norm.running_mean = torch.full((4,), 7.0).double()
        found = module(pictures())
    assert_same([found], [module(pictures())])


@pytest.mark.parametrize("route", ["clean", "adv"])
def test_routes_hold(route: str) -> None:
    module = evaluated(convert_dual_batchnorm(resnet()))
    with routes.bn_route(route):
        expected = derivatives(module, pictures())
        with folded_batch_norm(module):
            found = derivatives(module, pictures())
            count = operations(lambda: module(pictures())).count("batch_norm")
    assert_same(found, expected)
    assert count == 0


def test_train_mode_stays_train_mode() -> None:
    module = resnet().requires_grad_(False)
    other = copy.deepcopy(module)
    images = pictures().float()
    with folded_batch_norm(module):
        found = module(images)
    assert torch.equal(found, other(images))
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name)), name


@pytest.mark.parametrize("name", ["conv.weight", "norm.bias"])
def test_what_is_trained_is_not_folded(name: str) -> None:
    module = evaluated(Simple())
    parameter = module.get_parameter(name).requires_grad_()
    (expected,) = torch.autograd.grad(module(pictures()).square().sum(), parameter)
    with folded_batch_norm(module):
        (found,) = torch.autograd.grad(module(pictures()).square().sum(), parameter)
    assert_same([found], [expected])


def test_hooks_see_plain_outputs() -> None:
    module = evaluated(Simple())
    expected = module.conv(pictures())
    seen: list[Tensor] = []
    module.conv.register_forward_hook(lambda *call: seen.append(call[2].detach()))
    module.conv.register_forward_hook(lambda *call: call[2] * 2)
    plain = module(pictures())
    with folded_batch_norm(module):
        assert_same([module(pictures())], [plain])
    assert_same([seen[-1]], [expected])


def test_low_precision() -> None:
    module = evaluated(resnet()).float()
    images = pictures().float()
    with torch.autocast("cpu", torch.bfloat16):
        plain = module(images)
        with folded_batch_norm(module):
            found = module(images)
    assert found.dtype == torch.bfloat16
    exact = module(images)
    assert (found - exact).norm() <= 1.5 * (plain - exact).norm()


def test_autocast_around_the_convolution_only() -> None:
    module = evaluated(Simple()).float()
    images = pictures().float()
    for enabled in (True, False):
        outputs = []
        for folded in (nullcontext(), folded_batch_norm(module)):
            with folded, torch.autocast("cpu", torch.bfloat16, enabled=not enabled):
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    maps = module.conv(images)
                outputs.append(module.norm(maps))
        assert torch.equal(*outputs)


def test_input_that_is_gone() -> None:
    module = evaluated(Simple())
    images = pictures()
    with folded_batch_norm(module):
        maps = module.conv(images)
        images.mul_(2)
        with pytest.raises(RuntimeError, match=r"input of Conv2d.* changed in place"):
            module.norm(maps)


def test_half_of_a_network_in_low_precision() -> None:
    module = evaluated(Simple()).float()
    module.conv.bfloat16()
    images = pictures().bfloat16()
    plain = module(images)
    with folded_batch_norm(module):
        found = module(images)
    assert found.dtype == plain.dtype
    torch.testing.assert_close(found, plain, rtol=0.05, atol=0.05)


def test_channels_last_is_kept() -> None:
    module = evaluated(Settings()).to(memory_format=torch.channels_last)
    images = pictures().contiguous(memory_format=torch.channels_last)
    with folded_batch_norm(module):
        found = module(images)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert_same([found], [module(images)])


def test_the_module_is_as_it_was() -> None:
    module = resnet()
    before = [(dict(vars(m)), dict(m._parameters)) for m in module.modules()]
    state = {key: value.clone() for key, value in module.state_dict().items()}

    def stopped() -> None:
        with (
            modes.evaluation_mode(module),
            modes.frozen_parameters(module),
            folded_batch_norm(module),
        ):
            module(pictures().float())
            assert list(module.state_dict()) == list(state)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    for part, (attributes, parameters) in zip(module.modules(), before, strict=True):
        assert list(vars(part)) == list(attributes)
        assert all(part._parameters[key] is each for key, each in parameters.items())
    for key, value in module.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_blocks_nest() -> None:
    module = evaluated(Simple())
    with folded_batch_norm(module):
        with folded_batch_norm(module):
            pass
        assert operations(lambda: module(pictures())).count("batch_norm") == 0
    assert "forward" not in vars(module.conv)


def test_checkpointed_blocks() -> None:
    module = evaluated(resnet())
    leaf = pictures().requires_grad_()
    (expected,) = torch.autograd.grad(module(leaf).square().sum(), leaf)
    module.set_grad_checkpointing(True)  # type: ignore[operator]
    with folded_batch_norm(module):
        (found,) = torch.autograd.grad(module(leaf).square().sum(), leaf)
    assert_same([found], [expected])


def own_forward(module: Simple) -> None:
    plain = module.conv.forward
    vars(module.conv)["forward"] = lambda images: plain(images) + 1


def own_type(module: Simple) -> None:
    nn.utils.parametrizations.weight_norm(module.conv)


@pytest.mark.parametrize("change", [own_forward, own_type])
def test_convolutions_that_are_not_plain_stay(
    change: Callable[[Simple], None],
) -> None:
    module = Simple()
    change(module)
    evaluated(module)
    before = dict(vars(module.conv))
    plain = module(pictures())
    with folded_batch_norm(module):
        assert vars(module.conv) == before
        found = module(pictures())
    assert vars(module.conv) == before
    assert_same([found], [plain])


@pytest.mark.parametrize("compiled", ["", "conv"])
def test_compiled_networks_stay(compiled: str) -> None:
    module = Simple()
    module.get_submodule(compiled).compile(backend="eager")
    with folded_batch_norm(module):
        assert "forward" not in vars(module.conv)


def test_only_those_before_batch_norm_wait() -> None:
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 1),
    )
    found = list(folding._before_batch_norm(module))
    assert found == [module.get_submodule("0.2")]
