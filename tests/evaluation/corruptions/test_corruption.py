"""The registry of corruptions, and how its names are resolved."""

from __future__ import annotations

import pytest

from lightly_adv.evaluation.corruptions import (
    COMMON,
    PUBLISHED,
    Corruption,
    corruption,
    create_corruption,
    list_corruptions,
)


def test_there_are_fifteen_and_four() -> None:
    assert len(COMMON) == 15
    extra = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
    assert [*COMMON, *extra] == list(PUBLISHED)
    assert set(PUBLISHED) <= set(list_corruptions())
    assert all(create_corruption(name).name == name for name in PUBLISHED)


def test_a_corruption_has_five_levels() -> None:
    with pytest.raises(ValueError, match=r"'mine' has 1 levels; expected one for each"):
        Corruption("mine", lambda images, draws: images, ((0.5,),))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["gausian_noise"], "Did you mean 'gaussian_noise'"),
        (["fog", "fog"], "each once"),
        ([], "one or more"),
        ("fog", r"expected a list, \['fog'\]"),
        ("comon", "Unknown corruption 'comon'"),
    ],
)
def test_refused_names(names: str | list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        corruption.resolve(names)


@pytest.mark.parametrize("severities", [[6], [0, 1], [], [1, 1], [1.5]])
def test_refused_severities(severities: list[int]) -> None:
    with pytest.raises(ValueError, match="expected one or more of 1, 2, 3, 4, 5"):
        corruption.check_severities(severities)
