from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.batch_norm import routes
from lightly_adv.batch_norm.routes import RoutedLayer, bn_route
from lightly_adv.isolation.isolated import isolated


class Two(RoutedLayer):
    """Adds 1 on the first route and 2 on the second, and counts its calls."""

    def __init__(self, first: str = "clean", second: str = "adv") -> None:
        super().__init__({first: Adds(1), second: Adds(2)})

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.current()(values)
        return result


class Adds(nn.Module):
    count: Tensor

    def __init__(self, constant: int) -> None:
        super().__init__()
        self.constant = constant
        self.register_buffer("count", torch.tensor(0))

    def forward(self, values: Tensor) -> Tensor:
        self.count += 1
        return values + self.constant


ZERO = torch.zeros(())


def test_the_first_route_is_the_default_and_blocks_nest() -> None:
    layer = Two()
    seen = [int(layer(ZERO))]
    with bn_route("adv"):
        seen.append(int(layer(ZERO)))
        with bn_route("clean"):
            seen.append(int(layer(ZERO)))
            with bn_route("adv"), bn_route("adv"):
                seen.append(int(layer(ZERO)))
        seen.append(int(layer(ZERO)))
    seen.append(int(layer(ZERO)))
    assert seen == [1, 2, 1, 2, 2, 1]


def test_an_error_inside_puts_the_route_back() -> None:
    layer = Two()
    with bn_route("adv"):
        with pytest.raises(KeyError), bn_route("clean"):
            raise KeyError
        assert layer(ZERO) == 2
    assert layer(ZERO) == 1


def test_it_decorates_functions() -> None:
    layer = Two()
    assert bn_route("adv")(layer)(ZERO) == 2
    assert layer(ZERO) == 1


def test_other_threads_are_not_concerned() -> None:
    layer, seen = Two(), []
    thread = threading.Thread(target=lambda: seen.append(int(layer(ZERO))))
    with bn_route("adv"):
        thread.start()
        thread.join()
    assert seen == [1]


def test_unknown_routes_say_which_there_are() -> None:
    layer = Two("one", "two")
    message = r"the route 'adv' does not exist: .* \('one', 'two'\)"
    with bn_route("adv"), pytest.raises(ValueError, match=message):
        layer(ZERO)
    with pytest.raises(TypeError, match=r"route is a Two; expected a name"):
        bn_route(layer).__enter__()  # type: ignore[arg-type]


def test_check_routes_names_the_layer() -> None:
    routes.check_routes(nn.Sequential(nn.Linear(1, 1), Two()), "clean", "adv")
    module = nn.Sequential(Two(), Two("one", "two"))
    message = r"the layer '1' has the routes .*, but \['clean', 'adv'\] is needed"
    with pytest.raises(ValueError, match=message):
        routes.check_routes(module, "clean", "adv")


def test_buffers_of_one_route() -> None:
    module = nn.Sequential(Two(), nn.BatchNorm1d(2), Two("one", "two"))
    assert isinstance(module[0], Two)
    expected = [id(module[0].module_of("adv").count)]
    assert [id(each) for each in routes.buffers_of(module, "adv")] == expected


def test_the_backward_pass_does_not_know_the_route() -> None:
    layer = Two()
    values = torch.zeros(2, requires_grad=True)
    checkpoint = torch.utils.checkpoint.checkpoint
    with bn_route("adv"):
        output = checkpoint(lambda x: layer(x).square(), values, use_reentrant=False)
    with pytest.raises(RuntimeError, match=r"Switch gradient checkpointing off"):
        output.sum().backward()


def test_kept_tensors_advance_inside_of_isolated() -> None:
    layer = Two()
    before = [id(buffer) for buffer in layer.buffers()]
    with isolated(layer, keep=routes.buffers_of(layer, "adv")):
        layer(ZERO)
        with bn_route("adv"):
            layer(ZERO)
    assert [int(each.count) for each in (*layer.routes.values(),)] == [0, 1]  # type: ignore[arg-type]
    assert [id(buffer) for buffer in layer.buffers()] == before
