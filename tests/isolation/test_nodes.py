"""Tensors in place of others: no memory of their own until something is written."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightly_adv.isolation import copying, nodes
from lightly_adv.isolation.isolated import Isolation

is_shared: Callable[[Any], bool] = torch._C._is_cow_tensor  # type: ignore[attr-defined]


def fused(value: Tensor) -> None:
    torch._fused_sgd_(
        [value.detach()],
        [-torch.ones_like(value)],
        [],
        weight_decay=0,
        momentum=0,
        lr=1.0,
        dampening=0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def by_numpy(value: Tensor) -> None:
    value.detach().numpy()[:] += 1


def by_address(value: Tensor) -> None:
    ones = torch.ones_like(value)
    ctypes.memmove(value.data_ptr(), ones.data_ptr(), ones.nbytes)


def by_batch_norm(value: Tensor) -> None:
    # The running mean becomes the mean of the batch.
    batch = torch.ones(4, len(value))
    nn.functional.batch_norm(
        batch, value.detach(), torch.ones_like(value), training=True, momentum=1.0
    )


def by_storage(value: Tensor) -> None:
    value.untyped_storage().copy_(torch.ones_like(value).untyped_storage())


WRITERS: dict[str, Callable[[Tensor], Any]] = {
    "in place": lambda value: value.detach().add_(1),
    "data": lambda value: value.data.add_(1),
    "one of data": lambda value: value.data[3:].fill_(1),
    "view": lambda value: value.detach().view(2, -1)[1].add_(1),
    "foreach": lambda value: torch._foreach_add_([value.detach()], 1),
    "fused": fused,
    "numpy": by_numpy,
    "address": by_address,
    "batch norm": by_batch_norm,
    "storage": by_storage,
}


@pytest.fixture(params=[True, False], ids=["shared", "copied"])
def memory(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tensors as they are on the CPU, and as they are on an accelerator."""
    shared = request.param
    monkeypatch.setattr(nodes, "_copies_on_write", lambda value: shared)
    return bool(shared)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("kind", [nn.Parameter, Tensor.clone])
def test_no_write_is_missed(
    write: Callable[[Tensor], Any], kind: Any, memory: bool
) -> None:
    module: Any = nn.Module()
    module.held = held = kind(torch.zeros(30_000))
    isolation = Isolation(module)
    for _ in range(3):
        with isolation.evaluation():
            assert type(module.held) is type(held)
            assert not module.held.any()
            write(module.held)
            assert module.held.any()
        assert not held.any()
    write(held)
    expected = held.detach().clone()
    for _ in range(2):
        with isolation.evaluation():
            assert torch.equal(module.held, expected)
            module.held.data.zero_()
        assert torch.equal(held, expected)


def test_memory_is_shared_until_it_is_written() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64))
    places = [each.data_ptr() for each in module.parameters()]
    with Isolation(module).evaluation():
        images = torch.rand(4, 64, requires_grad=True)
        torch.autograd.grad(module(images).square().sum(), images)
        inside = list(module.parameters())
        assert all(map(is_shared, inside))
        assert not is_shared(module[1].running_mean)
    del inside
    for each in module.parameters():
        each.detach().add_(1)
    assert [each.data_ptr() for each in module.parameters()] == places


def test_a_graph_that_lives_on_keeps_its_values() -> None:
    weight = nn.Parameter(torch.full((3,), 2.0))
    module = nn.ParameterList([weight])
    x = torch.ones(3, requires_grad=True)
    with Isolation(module).evaluation():
        loss = (module[0] * x).sum()
    weight.data.fill_(5)
    (grad,) = torch.autograd.grad(loss, x)
    assert torch.equal(grad, torch.full((3,), 2.0))


@pytest.mark.parametrize("differentiable", [False, True])
def test_memory_of_others_is_copied(differentiable: bool) -> None:
    """What NumPy or another process may write to has no copy on write."""
    module: Any = nn.Module()
    array = np.zeros(5)
    module.view = torch.from_numpy(array)
    module.shared = torch.zeros(5)
    module.shared.share_memory_()
    isolation = Isolation(module, differentiable=differentiable)
    for _ in range(2):
        with isolation.evaluation():
            module.view.add_(1)
            module.shared.add_(1)
        assert not array.any()
        assert not module.shared.any()


def test_large_arrays_are_data_and_large_buffers_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copying, "LARGE", 100)
    module: Any = nn.Module()
    module.array = np.zeros(100)
    module.images = torch.from_numpy(np.zeros(100))
    module.register_buffer("bank", torch.from_numpy(np.zeros(100)))
    module.own = torch.zeros(100)
    held = dict(array=module.array, images=module.images)
    with Isolation(module).evaluation():
        assert all(getattr(module, name) is value for name, value in held.items())
        module.bank.add_(1)
        module.own.add_(1)
    assert not module.bank.any()
    assert not module.own.any()


def test_a_module_that_moves_between_evaluations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = nn.Linear(2, 2)
    isolation = Isolation(module)
    with isolation.evaluation():
        pass
    for device in ("meta", "cpu"):
        module.to_empty(device=device)
        with isolation.evaluation():
            assert module.weight.device.type == device
    module.weight.data = torch.ones(2, 2, dtype=torch.float64)
    monkeypatch.setattr(nodes, "_copies_on_write", lambda value: False)
    with isolation.evaluation():
        assert module.weight.dtype == torch.float64
        place = module.weight.data_ptr()
    with isolation.evaluation():
        # Such as a captured graph needs it.
        assert module.weight.data_ptr() == place


KINDS = {
    "COO": lambda: torch.eye(4).to_sparse(),
    "CSR": lambda: torch.eye(4).to_sparse_csr(),
    "CSC": lambda: torch.eye(4).to_sparse_csc(),
    "float8": lambda: torch.zeros(4).to(torch.float8_e4m3fn),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "meta": lambda: torch.zeros(4, device="meta"),
    "expanded": lambda: torch.zeros(1).expand(4),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds_are_copied(kind: str, differentiable: bool) -> None:
    module = nn.Linear(2, 2)
    value = KINDS[kind]()
    module.register_buffer("held", value)
    isolation = Isolation(module, differentiable=differentiable)
    for _ in range(2):
        with isolation.evaluation():
            inside = module.held
            assert inside is not value
            assert inside.layout == value.layout
            assert inside.dtype == value.dtype
    assert module.held is value


def test_inference_tensors_are_copied(memory: bool) -> None:
    with torch.inference_mode():
        value = torch.zeros(40_000)
    module: Any = nn.Linear(2, 2)
    module.register_buffer("held", value)
    isolation = Isolation(module)
    for _ in range(5):
        with isolation.evaluation():
            module.held.add_(1)
            assert (module.held == 1).all()
    assert (value == 0).all()
