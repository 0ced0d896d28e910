from __future__ import annotations

import pytest

from lightly_adv.cli.parser import Parser, summary

UNION = """
Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'a.Model'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'a.Model':
        Parser key "attack.eps":
          Expected a <class 'float'>. Got value: x
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {'class_path': 'a.Model'}
"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (UNION, "--model.attack.eps: Expected a float. Got value: x"),
        ('Parser key "a":\n  No such file', "--a: No such file"),
        ("unrecognized arguments: --x", "unrecognized arguments: --x"),
        ("eps=8 is larger", "eps=8 is larger"),
    ],
)
def test_messages_are_cut_to_what_matters(message: str, expected: str) -> None:
    assert summary(message) == expected


def test_errors_are_raised_and_not_printed() -> None:
    parser = Parser()
    parser.add_argument("--count", type=int)
    with pytest.raises(ValueError, match="count"):
        parser.parse_args(["--count", "x"])


def test_help_leaves_out_most_of_the_trainer_and_config_nothing() -> None:
    parser = Parser()
    parser.add_argument("--trainer.max_epochs", type=int, default=3)
    parser.add_argument("--trainer.profiler", type=str, default="none")
    shown = parser.format_help()
    assert "Number of epochs." in shown
    assert "profiler" not in shown
    assert "profiler: none" in parser.dump(parser.get_defaults())
