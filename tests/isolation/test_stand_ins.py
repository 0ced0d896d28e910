from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.isolation import stand_ins
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.isolation.stand_ins import Row, StandIn

LARGE = 40_000
"""Elements of a tensor that is not copied every time."""


def copies(stand_in: StandIn) -> bool:
    """Whether an evaluation copies the tensor."""
    pair = stand_in.copy_needed()
    if pair is not None:
        pair[0].copy_(pair[1].detach())
        stand_in.copied()
    return pair is not None


def test_large_tensors_are_copied_when_they_moved() -> None:
    weight = nn.Parameter(torch.zeros(LARGE))
    stand_in = StandIn(weight)
    assert [copies(stand_in) for _ in range(5)] == [True, *[False] * 4]
    with torch.no_grad():
        weight.add_(1)
    assert [copies(stand_in) for _ in range(2)] == [True, False]
    stand_in.now.add_(1)
    assert [copies(stand_in) for _ in range(2)] == [True, False]
    weight.data = torch.full((LARGE,), 3.0)
    assert [copies(stand_in) for _ in range(2)] == [True, False]
    assert (stand_in.now == 3).all()


@pytest.mark.parametrize("inside", [False, True])
def test_writes_that_no_version_counts_are_found_by_values(inside: bool) -> None:
    """All of them at once, and few of them when the count has doubled."""
    weight = nn.Parameter(torch.zeros(LARGE))
    stand_in = StandIn(weight)
    [copies(stand_in) for _ in range(4)]
    written: Tensor = stand_in.now if inside else weight
    written.data.add_(1)
    assert [copies(stand_in) for _ in range(3)] == [True] * 3
    other = StandIn(weight)
    [copies(other) for _ in range(4)]
    (other.now if inside else weight).data[17] += 1
    found = [copies(other) for _ in range(5)]
    assert found == [False, False, False, True, True]
    assert torch.equal(other.now, weight)


def test_small_tensors_are_copied_every_time() -> None:
    stand_in = StandIn(torch.zeros(3))
    assert all(copies(stand_in) for _ in range(3))


def test_a_row_makes_anew_what_was_written() -> None:
    tensors = [torch.full((), float(index)) for index in range(100)]
    row = Row(tensors)
    twins = dict(row.twins)
    assert not any(row.fill() for _ in range(5))
    row.twins[id(tensors[3])].add_(1)
    tensors[4].add_(1)
    assert row.fill()
    changed = [
        at
        for at, each in enumerate(tensors)
        if row.twins[id(each)] is not twins[id(each)]
    ]
    assert changed == [3, 4]
    assert [float(row.twins[id(tensors[at])]) for at in changed] == [3.0, 5.0]
    tensors[5].data.add_(1)
    assert [row.fill() for _ in range(4)] == [False, True, False, False]
    # What leaves is forgotten, what stays keeps its stand-in.
    later = Row(tensors[1:], row)
    assert id(tensors[0]) not in later.twins
    assert later.twins[id(tensors[9])] is twins[id(tensors[9])]


KINDS = {
    "COO": lambda: torch.eye(4).to_sparse(),
    "CSR": lambda: torch.eye(4).to_sparse_csr(),
    "CSC": lambda: torch.eye(4).to_sparse_csc(),
    "float8": lambda: torch.zeros(4).to(torch.float8_e4m3fn),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "meta": lambda: torch.zeros(4, device="meta"),
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
    assert stand_ins.is_odd(value) == (kind != "meta")


def test_inference_tensors_are_copied() -> None:
    with torch.inference_mode():
        value = torch.zeros(LARGE)
    module: Any = nn.Linear(2, 2)
    module.register_buffer("held", value)
    isolation = Isolation(module)
    for _ in range(5):
        with isolation.evaluation():
            module.held.add_(1)
            assert (module.held == 1).all()
    assert (value == 0).all()


def test_a_step_writes_few_values_that_no_version_counts() -> None:
    module = nn.Linear(300, 300)
    module.register_buffer("bank", torch.zeros(300, 300))
    isolation = Isolation(module)
    for step in range(3):
        for _ in range(3):  # not at a power of two of evaluations alone
            with isolation.evaluation():
                assert module.weight[7, 7 + step] != step + 1
        for tensor in (module.weight, module.get_buffer("bank")):
            tensor.data.view(-1)[7 * 300 + 7 + step] = step + 1.0
        isolation.new_step()
        with isolation.evaluation():
            for tensor in (module.weight, module.get_buffer("bank")):
                assert tensor[7, 7 + step] == step + 1.0


def test_an_evaluation_writes_few_values_of_a_buffer() -> None:
    module = nn.Module()
    module.register_buffer("bank", torch.zeros(300, 300))
    isolation = Isolation(module)
    for at in range(7):
        with isolation.evaluation():
            assert not module.get_buffer("bank").any()
            module.get_buffer("bank").data.view(-1)[1000 + at] = 1.0
