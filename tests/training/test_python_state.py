from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightly_adv.training import python_state
from lightly_adv.training.python_state import (
    UnknownStateError,
    globals_of,
    state_of,
)

SIGN: Any = 1.0
TARGET = torch.zeros(2)


@dataclass
class Options:
    sign: float = 1.0


@dataclass
class Slots:
    __slots__ = ("sign",)
    sign: float


class Plain:
    def __init__(self) -> None:
        self.options = {"sign": [1.0]}


def item(name: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        value[name] = -1.0

    return change


def attribute(value: Any) -> None:
    value.sign = -1.0


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1.0], item(0)),
        ([(0.0, [1.0])], lambda value: value[0][1].append(2.0)),
        ({"sign": 1.0}, item("sign")),
        ({"a": {"sign": 1.0}}, lambda value: value["a"].pop("sign")),
        ({1.0, 2.0}, lambda value: value.remove(1.0)),
        ([1], lambda value: value.__setitem__(0, True)),
        (np.ones(3), item(1)),
        (types.SimpleNamespace(sign=1.0), attribute),
        (Options(), attribute),
        (Slots(1.0), attribute),
        (Plain(), lambda value: value.options["sign"].append(0)),
        (functools.partial(max, [1.0]), lambda value: value.args[0].append(2.0)),
        ([nn.Dropout(0.5)], lambda value: value[0].eval()),
        ([torch.ones(2)], lambda value: value.__setitem__(0, torch.ones(2))),
    ],
)
def test_what_changes_is_seen(value: Any, change: Callable[[Any], None]) -> None:
    module: Any = nn.Sequential(nn.Linear(2, 2))
    module[0].value = value
    before = state_of(module)
    assert state_of(module) == before
    kept = list(value) if isinstance(value, list) else value
    change(value)
    assert state_of(module) != before
    del kept


def test_other_modules_in_the_place_of_some_are_seen() -> None:
    module: Any = nn.Sequential(nn.ReLU())
    before = state_of(module)
    module[0] = nn.GELU()
    assert state_of(module) != before


def test_libraries_and_loops_are_no_obstacle() -> None:
    module: Any = nn.Linear(2, 2)
    loop: list[Any] = [module]
    loop.append(loop)
    module.loop = loop
    module.optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module.other = [nn.Sequential(nn.Linear(2, 2))]
    module.other[0].owner = [module]
    before = state_of(module)
    module.optimizer.param_groups[0]["lr"] = 0.2
    assert state_of(module) == before


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth > 1 else [1]


def test_what_is_too_much_is_refused() -> None:
    module: Any = nn.Linear(2, 2)
    module.most = list(range(python_state.ENTRIES))
    module.deepest = nested(python_state.DEPTH)
    state_of(module)
    module.most.append(0)
    with pytest.raises(UnknownStateError, match=r"most of Linear.*1000 values.*keep"):
        state_of(module)
    module.most = []
    module.deepest = nested(python_state.DEPTH + 1)
    with pytest.raises(UnknownStateError, match=r"deepest of Linear.*3 levels.*keep"):
        state_of(module)


def reads_inside() -> Any:
    return (lambda: SIGN)()


def reads_attribute(value: Any) -> Any:
    return value.TARGET


def reads_tensor() -> Any:
    return TARGET + 1


def outside(function: Any) -> Any:
    return globals_of(function)


def test_globals(monkeypatch: pytest.MonkeyPatch) -> None:
    before = outside(reads_inside)
    assert outside(reads_inside) == before
    monkeypatch.setitem(globals(), "SIGN", -1.0)
    assert outside(reads_inside) != before
    monkeypatch.setitem(globals(), "SIGN", {"of": [1.0]})
    before = outside(reads_inside)
    SIGN["of"][0] = -1.0
    assert outside(reads_inside) != before
    assert outside(reads_attribute) == ()
    with pytest.raises(UnknownStateError, match=r"TARGET is a tensor.* a closure"):
        outside(reads_tensor)
