"""Options that all evaluations have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from lightly_adv import PGD, ThreatModel
from lightly_adv import evaluation as evaluations

BALL = ThreatModel(eps=8 / 255)
MODEL = nn.Flatten()


@pytest.mark.parametrize(
    ("evaluate", "arguments"),
    [
        (evaluations.evaluate_robustness, (MODEL, [], BALL)),
        (evaluations.robust_curve, (MODEL, [], BALL, [0.1])),
        (evaluations.evaluate_encoder, (MODEL, [], BALL)),
        (evaluations.evaluate_corruptions, (MODEL, [])),
        (evaluations.evaluate_unforeseen, (MODEL, [])),
        (evaluations.measure_transfer, ({"a": MODEL, "b": MODEL}, [], PGD(BALL))),
    ],
)
def test_a_misspelt_option_is_refused_by_the_function_that_was_called(
    evaluate: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    message = (
        rf"{evaluate.__name__}\(\) has no option 'max_sample'. Did you mean 'max_s"
    )
    with pytest.raises(TypeError, match=message):
        evaluate(*arguments, max_sample=8)


def test_arguments_of_the_function_itself_are_named_as_well() -> None:
    wrong: Any = {"sweet": "smoke"}
    with pytest.raises(
        TypeError, match=r"'sweet'.*Expected: model, loader.*suite.*seed"
    ):
        evaluations.evaluate_robustness(MODEL, [], BALL, **wrong)
