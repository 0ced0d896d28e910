from __future__ import annotations

import pytest

from lightly_adv.cli import fractions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8/255", 8 / 255),
        ("0.5/255", 0.5 / 255),
        ("0.03", 0.03),
        ("1e-3", 1e-3),
        ("2", 2.0),
    ],
)
def test_numbers(text: str, expected: float) -> None:
    assert fractions.number(text) == expected


@pytest.mark.parametrize("text", ["8/0", "eight", "8/", "1/2/3"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number; expected one such as 8/255"):
        fractions.number(text)


def test_arguments_keep_all_but_fractions() -> None:
    given = ["--eps", "8/255", "--root=a/b", "--x=8/255", "./8/255", "2026/11/23"]
    value = repr(8 / 255)
    expected = ["--eps", value, "--root=a/b", f"--x={value}", "./8/255", "2026/11/23"]
    assert fractions.in_arguments(given) == expected


def test_yaml_is_searched_through() -> None:
    text = "a: {eps: 8/255}\nb: [1/2, x/y, '1/4']\nc: 3"
    assert fractions.load_yaml(text) == {
        "a": {"eps": 8 / 255},
        "b": [0.5, "x/y", 0.25],
        "c": 3,
    }
