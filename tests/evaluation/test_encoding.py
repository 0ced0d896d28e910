"""Dataclasses as JSON and back, and what is said of parts that do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import torch

from lightly_adv.evaluation.encoding import Flags, Integers, Numbers, decode, encode


@dataclass
class Inner:
    kind: Literal["a", "b"]
    size: tuple[int, int]


@dataclass
class Outer:
    flags: Mapping[str, Flags]
    numbers: Numbers
    classes: Integers | None
    inner: Sequence[Inner]
    rest: Any
    note: str = field(default="", compare=False)


VALUE = Outer(
    {"clean": torch.tensor([True, False]), "pgd": torch.tensor([False, False])},
    torch.tensor([0.1, 2.0], dtype=torch.float32),
    None,
    [Inner("a", (32, 16))],
    {"steps": 3},
    note="left out",
)


def test_what_was_encoded_is_decoded() -> None:
    content = json.loads(json.dumps(encode(VALUE)))
    assert "note" not in content
    again = decode(Outer, content)
    assert encode(again) == content
    assert again.flags["clean"].dtype == torch.bool
    assert again.numbers.dtype == torch.float64
    assert again.inner[0] == Inner("a", (32, 16))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("flags", [1], r"flags is \[1\], expected an object"),
        ("flags", {"pgd": [1, 2]}, r"flags.pgd is \[1, 2\], expected a list of 0 and"),
        ("flags", {"pgd": [[1], [0, 1]]}, r"flags.pgd is .* expected a list of 0"),
        ("numbers", "text", "numbers is 'text', expected a list of numbers"),
        ("numbers", [True], "numbers is .* expected a list of numbers"),
        ("classes", [0.5], r"classes is \[0.5\], expected a list of integers"),
        ("inner", {}, "inner is .*, expected a list"),
        ("inner", [{"kind": "c", "size": [1, 2]}], r"inner\[0\].kind is 'c', .*a, b"),
        ("inner", [{"kind": "a", "size": [1]}], r"inner\[0\].size is \[1\], .* of 2"),
        ("inner", [{"kind": "a"}], r"inner\[0\].size is None, expected a list"),
    ],
)
def test_parts_that_do_not_fit_are_named(path: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode(Outer, {**encode(VALUE), path: value})
