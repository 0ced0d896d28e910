from __future__ import annotations

import warnings

import pytest

from lightly_adv.errors import NotFiniteError, OutOfRangeError
from lightly_adv.training.clean_batches import CleanBatches

BAD = NotFiniteError("the objective is NaN.")


def test_at_the_beginning_a_mistake_is_an_error() -> None:
    with pytest.raises(OutOfRangeError):
        CleanBatches().left(OutOfRangeError("0..255"), batch_idx=0)
    batches = CleanBatches()
    with pytest.warns(UserWarning, match="batch 0 is trained on without an attack"):
        batches.left(BAD, batch_idx=0)
    batches.left(BAD, batch_idx=1)
    with pytest.raises(NotFiniteError):
        batches.left(BAD, batch_idx=2)


def test_later_it_is_said_once_and_counted() -> None:
    batches = CleanBatches()
    batches.attacked()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for at in range(9, 14):
            batches.left(OutOfRangeError("0..255"), batch_idx=at)
    assert len(said) == 1
    assert "batch 9" in str(said[0].message)
    assert str(batches) == "5 of 6 batches were trained on without an attack."
