"""What a module holds is set aside, wherever it is; each kind of state in its turn."""

from __future__ import annotations

import array
import ctypes
import functools
import itertools
import multiprocessing
import queue
import threading
from collections import OrderedDict, UserDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import shared_memory
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from lightly_adv import isolated
from lightly_adv.isolation import leaks
from lightly_adv.isolation.isolated import Isolation


class Counter:
    total = 0

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(2)
        self.history: list[float] = []

    def update(self) -> None:
        self.count += 1
        self.mean.mul_(0.9).add_(1)
        self.history.append(1.0)
        type(self).total += 1


@dataclass
class Meter:
    value: float = 0.0
    seen: dict[str, int] = field(default_factory=dict)

    def update(self) -> None:
        self.value += 1
        self.seen["steps"] = self.seen.get("steps", 0) + 1


class Slotted:
    __slots__ = ("count", "missing")

    def __init__(self) -> None:
        self.count = 0

    def update(self) -> None:
        self.count += 1
        self.missing = 1


class Wheel:
    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Wheel:
        return self

    def __next__(self) -> int:
        self.at += 1
        return self.at


class Pair(NamedTuple):
    counter: Counter
    value: torch.Tensor


class Listed(list[Any]):
    def __init__(self) -> None:
        super().__init__([1])
        self.longest = 1

    def update(self) -> None:
        self.append(2)
        self.longest = len(self)


def closure() -> Callable[[], int]:
    count, seen = 0, [0]

    def count_up() -> int:
        nonlocal count
        count += 1
        seen.append(count)
        return count

    return count_up


def shared_zeros() -> torch.Tensor:
    zeros = torch.zeros(2)
    zeros.untyped_storage().share_memory_()
    return zeros


def shared_value(value: Any) -> None:
    with value.get_lock():
        value.value += 1


def set_first(value: Any) -> None:
    value[0] += 1


def put_and_get(value: Any) -> None:
    value.get()
    value.put(7)
    value.put(8)


def move(value: Any) -> None:
    value.move_to_end("a")
    value["c"] = 3


class Case(NamedTuple):
    make: Callable[[], Any]
    disturb: Callable[[Any], Any]
    name: str


def update(value: Any) -> None:
    value.update()


CASES = [
    Case(Counter, update, "counter"),
    Case(Meter, update, "dataclass"),
    Case(Slotted, update, "slots"),
    Case(Wheel, next, "iterator object"),
    Case(lambda: Pair(Counter(), torch.zeros(1)), lambda x: x[0].update(), "tuple"),
    Case(lambda: [Counter()], lambda x: x[0].update(), "listed object"),
    Case(Listed, update, "list subclass"),
    Case(lambda: UserDict(a=1), lambda x: x.update(b=2), "user dict"),
    Case(lambda: OrderedDict(a=1, b=2), move, "ordered dict"),
    Case(closure, lambda x: x(), "closure"),
    Case(lambda: functools.partial(closure()), lambda x: x(), "partial"),
    Case(lambda: Counter().update, lambda x: x(), "bound method"),
    Case(lambda: multiprocessing.Value("i", 0), shared_value, "shared value"),
    Case(lambda: multiprocessing.Array("d", 3), set_first, "shared array"),
    Case(lambda: (ctypes.c_int * 3)(), set_first, "ctypes"),
    Case(lambda: array.array("i", [1, 2]), set_first, "array"),
    Case(lambda: bytearray(b"ab"), set_first, "bytearray"),
    Case(lambda: shared_zeros(), lambda x: x.add_(1), "shared tensor"),
    Case(lambda: deque([1, 2], maxlen=2), lambda x: x.append(3), "deque"),
    Case(lambda: itertools.cycle([1, 2]), next, "cycle"),
    Case(lambda: enumerate("abcdefghijkl"), next, "enumerate"),
    Case(lambda: np.zeros(100_000), set_first, "large array"),
    Case(lambda: np.zeros(3, dtype=object), set_first, "array of objects"),
    Case(lambda: {"a", "b"}, lambda x: x.add("c"), "set"),
    Case(lambda: [torch.zeros(1) for _ in range(100)], lambda x: x[3].add_(1), "row"),
    Case(lambda: [torch.zeros(1) for _ in range(100)], lambda x: x.pop(3), "shorter"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda each: each.name)
@pytest.mark.parametrize("differentiable", [False, True])
def test_state_of_every_kind_is_set_aside(case: Case, differentiable: bool) -> None:
    module: Any = nn.Linear(2, 2)
    module.held = held = case.make()
    isolation = Isolation(module, differentiable=differentiable)
    before = leaks.snapshot(module)
    for _ in range(5):
        with isolation.evaluation():
            case.disturb(module.held)
            inside = before.changes(leaks.snapshot(module))
        assert module.held is held
        assert before.changes(leaks.snapshot(module)) == []
        # Otherwise the comparison would pass because it sees nothing.
        assert inside
    case.disturb(module.held)
    assert before.changes(leaks.snapshot(module))


@pytest.mark.parametrize("case", CASES, ids=lambda each: each.name)
def test_evaluations_see_what_happens_between_them(case: Case) -> None:
    """Each starts from the present state, whatever the ones before have done."""
    module, twin = (nn.Linear(2, 2) for _ in range(2))
    twin.load_state_dict(module.state_dict())
    held: Any = module
    other: Any = twin
    held.held, other.held = case.make(), case.make()
    isolation = Isolation(module)
    for _ in range(4):
        with isolation.evaluation(), isolated(twin):
            case.disturb(held.held), case.disturb(other.held)
            inside = _values(module), _values(twin)
        assert inside[0].changes(inside[1]) == []
        case.disturb(held.held)
        case.disturb(other.held)
        assert _values(module).changes(_values(twin)) == []


def _values(module: nn.Module) -> leaks.Snapshot:
    values = leaks.snapshot(module).values
    return leaks.Snapshot({k: v for k, v in values.items() if "of the class" not in k})


def test_shared_memory_of_processes() -> None:
    block: Any = shared_memory.SharedMemory(create=True, size=4)
    try:
        module: Any = nn.Linear(2, 2)
        module.block = block
        before = leaks.snapshot(module)
        with isolated(module):
            block.buf[0] = 7
            assert before.changes(leaks.snapshot(module)) == ["block"]
        assert block.buf[0] == 0
    finally:
        block.close()
        block.unlink()


def test_queues_give_every_evaluation_the_same() -> None:
    module: Any = nn.Linear(2, 2)
    module.queue = queue.Queue()
    for number in (1, 2):
        module.queue.put(number)
    for _ in range(3):
        with isolated(module):
            put_and_get(module.queue)
            assert module.queue.qsize() == 3
        assert list(module.queue.queue) == [1, 2]
        assert module.queue.unfinished_tasks == 2


def test_objects_of_libraries_and_with_threads_are_left_alone() -> None:
    class Threaded:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.count = 0

    module: Any = nn.Linear(2, 2)
    module.threaded = Threaded()
    with isolated(module):
        module.threaded.count = 1
    assert module.threaded.count == 1


def test_learning_rates_and_schedulers_that_the_module_holds() -> None:
    module: Any = nn.Linear(2, 2)
    module.optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    module.scheduler = torch.optim.lr_scheduler.StepLR(module.optimizer, 1, 0.5)
    group = module.optimizer.param_groups[0]
    before = leaks.snapshot(module)
    with isolated(module):
        assert group["params"][0] is not module.weight
        with pytest.warns(UserWarning, match="lr_scheduler"):
            module.scheduler.step()
        assert group["lr"] == 0.5
        module.optimizer.add_param_group({"params": [torch.zeros(1)]})
    assert before.changes(leaks.snapshot(module)) == []
    assert len(module.optimizer.param_groups) == 1
    assert group["params"][0] is module.weight


def test_attributes_that_come_later_are_found() -> None:
    module: Any = nn.Linear(2, 2)
    isolation = Isolation(module)
    with isolation.evaluation():
        pass
    module.late = {"meter": [Meter()]}
    module.empty = []
    with isolation.evaluation():
        module.late["meter"][0].update()
        module.empty.append(torch.ones(1))
    assert module.late["meter"][0] == Meter()
    assert module.empty == []
    module.empty.append(module.late.pop("meter")[0])
    with isolation.evaluation():
        module.empty[0].update()
    assert module.empty == [Meter()]


def test_evaluations_nest_in_one_another() -> None:
    module: Any = nn.BatchNorm1d(2)
    module.meter = Meter()
    isolation = Isolation(module)
    before = leaks.snapshot(module)
    with isolation.evaluation():
        module.meter.update()
        with isolation.evaluation():
            module.meter.update()
            module(torch.randn(4, 2))
        assert module.meter.value == 1.0
        assert int(module.num_batches_tracked) == 0
    assert before.changes(leaks.snapshot(module)) == []


def test_an_error_while_looking_leaves_everything() -> None:
    module: Any = nn.Sequential(nn.Linear(2, 2))
    isolation = Isolation(module)
    with isolation.evaluation():
        pass
    module.append(nn.LazyLinear(2))
    for _ in range(2):
        with pytest.raises(ValueError, match="lazy"), isolation.evaluation():
            pass
    del module[1]
    with isolation.evaluation():
        module[0].weight.data.zero_()
    assert module[0].weight.abs().sum() > 0


@pytest.mark.parametrize("make", [lambda: [0], lambda: torch.zeros(1)])
def test_thousands_of_objects_in_a_list_are_data(make: Callable[[], Any]) -> None:
    module: Any = nn.Linear(2, 2)
    module.rows = [make() for _ in range(1001)]
    first = module.rows[0]
    with isolated(module):
        assert module.rows[0] is first
        module.rows.clear()
    assert len(module.rows) == 1001
    before = leaks.snapshot(module)
    with isolated(module):
        first += torch.ones(1) if isinstance(first, torch.Tensor) else [1]
    assert before.changes(leaks.snapshot(module))[0].startswith("rows[0]")


def test_many_parameters_are_not_data() -> None:
    module: Any = nn.Linear(2, 2)
    module.many = nn.ParameterList(torch.zeros(1) for _ in range(1001))
    module.listed = list(module.many)
    with isolated(module):
        module.listed[7].data.add_(1)
        assert module.many[7] == 1
    assert module.many[7] == 0


def test_what_is_held_and_does_not_change_is_not_looked_into_again() -> None:
    module: Any = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    module.pairs = [(str(index), index) for index in range(10_000)]
    module.losses = [torch.zeros(()) for _ in range(1001)]
    isolation = Isolation(module)
    with isolation.evaluation():
        pass
    plan, made = isolation._plan, []
    nodes = dict(plan._nodes)
    plan._new_node = lambda value: made.append(value)  # type: ignore[method-assign]
    module.losses.append(torch.ones(()))
    module.count = 1
    with isolation.evaluation():
        module.losses.clear()
    assert len(module.losses) == 1002
    assert plan._nodes == nodes
    assert made == []
