from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn

from lightly_adv.isolation import leaks


class Part:
    def __init__(self) -> None:
        self.value = 0
        self.parent: Any = None


def test_it_sees_into_plain_objects_and_cycles() -> None:
    module = nn.Linear(2, 2)
    part = Part()
    part.parent = module
    module.part = part  # type: ignore[assignment]
    before = leaks.snapshot(module)
    part.value = 1
    assert before.changes(leaks.snapshot(module)) == ["part.value"]


def test_random_streams_are_named() -> None:
    module = nn.Linear(2, 2)
    before = leaks.snapshot(module)
    torch.rand(1), random.random(), np.random.rand()
    assert before.changes(leaks.snapshot(module)) == [
        "the random state of torch",
        "the random state of random",
        "the random state of numpy",
    ]


def test_one_bit_and_one_type_are_changes_and_nan_is_not() -> None:
    module = nn.Module()
    module.a = torch.tensor([1.0, float("nan")])
    module.b = float("nan")  # type: ignore[assignment]
    module.c = 1  # type: ignore[assignment]
    before = leaks.snapshot(module)
    assert before.changes(leaks.snapshot(module)) == []
    module.a[0] = torch.nextafter(module.a[0], torch.tensor(2.0))
    module.c = True  # type: ignore[assignment]
    assert before.changes(leaks.snapshot(module)) == ["a", "c"]


def test_what_comes_and_goes_is_named() -> None:
    module = nn.Module()
    module.items_ = [1]  # type: ignore[assignment]
    before = leaks.snapshot(module)
    module.items_ = [1, 2]  # type: ignore[assignment]
    changes = before.changes(leaks.snapshot(module))
    assert changes == ["items_ (length)", "items_[1]"]


def test_sets_are_compared_whatever_the_order_of_their_items() -> None:
    def holding(*items: object) -> Any:
        module: Any = nn.Module()
        module.items_ = set()
        for item in items:
            module.items_.add(item)
        return module

    # In a small table 1 and 9 collide: who comes first is listed first.
    first, second = holding(1, 9), holding(9, 1)
    assert list(first.items_) != list(second.items_)
    before = leaks.snapshot(first)
    assert before.changes(leaks.snapshot(second)) == []
    for other in (holding(1, 10), holding(True, 9)):
        assert before.changes(leaks.snapshot(other)) == ["items_ (items)"]
    grown = before.changes(leaks.snapshot(holding(1, 9, torch.zeros(1))))
    assert grown == ["items_ (length)", "items_[0]"]


def test_where_iterators_stand_is_seen() -> None:
    module: Any = nn.Module()
    module.listed = iter([1, 2, 3])
    module.computed = (0.1 * at for at in range(3))
    before = leaks.snapshot(module)
    assert before.changes(leaks.snapshot(module)) == []
    next(module.computed)
    started = leaks.snapshot(module)
    next(module.computed)
    assert started.changes(leaks.snapshot(module)) == ["computed (position)"]
    list(module.computed), next(module.listed)
    assert before.changes(leaks.snapshot(module)) == [
        "listed (position)",
        "computed (position)",
    ]
