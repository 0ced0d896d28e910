"""The table of corruptions, and how its names are found."""

from __future__ import annotations

import pytest

from lightly_adv.evaluation.corruptions import COMMON, CORRUPTIONS, table


def test_there_are_fifteen_and_four() -> None:
    assert len(COMMON) == 15
    extra = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
    assert [*COMMON, *extra] == list(CORRUPTIONS)
    assert all(len(each.levels) == 5 for each in CORRUPTIONS.values())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["gausian_noise"], "Did you mean 'gaussian_noise'"),
        (["fog", "fog"], "each once"),
        ([], "one or more"),
        ("fog", r"expected a list, \['fog'\]"),
        ("comon", "unknown corruption 'comon'"),
    ],
)
def test_refused_names(names: str | list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        table.resolve(names)


@pytest.mark.parametrize("severities", [[6], [0, 1], [], [1, 1], [1.5]])
def test_refused_severities(severities: list[int]) -> None:
    with pytest.raises(ValueError, match="expected one or more of 1, 2, 3, 4, 5"):
        table.check_severities(severities)
