"""An evaluation that is killed at any call of the model ends in the same report."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from torch import Tensor

from tests.evaluation.slow_evaluation import Wavering, evaluate


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


class Mortal(Wavering):
    """Ends at a call of a given number, the first being 0; at none if it is -1."""

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end

    def forward(self, images: Tensor) -> Tensor:
        if len(self.sizes) == self.end:
            raise Killed
        return super().forward(images)


def test_killed_again_and_again(tmp_path: Path) -> None:
    whole = Mortal(-1)
    expected = evaluate(whole).to_json()
    draw = random.Random(0)
    for number in range(10):
        state = tmp_path / str(number)
        end = draw.randrange(len(whole.sizes))
        with pytest.raises(Killed):
            evaluate(Mortal(end), state=state)
        assert evaluate(Mortal(-1), state=state).to_json() == expected, end
