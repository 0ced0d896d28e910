from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml

from lightly_adv.cli.parser import Parser, summary
from tests.cli.conftest import Command

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


@pytest.mark.parametrize("kinds", [int | float | None, float | int | None])
@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1), ("2", 2), ("1.0", 1.0), ("0.5", 0.5)]
)
def test_one_batch_is_not_all_of_them(kinds: Any, text: str, expected: float) -> None:
    class Trainer(pl.Trainer):
        def __init__(self, limit: Any = None) -> None: ...

    Trainer.__init__.__annotations__["limit"] = kinds
    parser = Parser()
    parser.add_lightning_class_args(Trainer, "trainer")
    found = parser.parse_args([f"--trainer.limit={text}"]).trainer.limit
    assert (found, type(found)) == (expected, type(expected))


def test_help_leaves_out_most_of_the_trainer_and_config_nothing() -> None:
    parser = Parser()
    parser.add_argument("--trainer.max_epochs", type=int, default=3)
    parser.add_argument("--trainer.profiler", type=str, default="none")
    shown = parser.format_help()
    assert "Number of epochs." in shown
    assert "profiler" not in shown
    assert "profiler: none" in parser.dump(parser.get_defaults())


HARM = (
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "harm"]}},
    {"class_path": "os.system", "init_args": {"command": "touch harm"}},
)


@pytest.mark.parametrize("harm", HARM, ids=lambda each: str(each["class_path"]))
@pytest.mark.parametrize(
    "place", ["model", "data", "trainer.logger", "trainer.callbacks", "task_options"]
)
def test_a_config_builds_only_what_an_option_is_for(
    place: str, harm: dict[str, Any], command: Command
) -> None:
    content: dict[str, Any]
    if place == "task_options":  # a dictionary of anything
        options = {"task_options": {"x": harm, "y": [harm]}}
        path = "lightly_adv.methods.PretextModule"
        content = {"model": {"class_path": path, "init_args": options}}
    else:
        content = harm
        for name in reversed(place.split(".")):
            content = {name: [content] if name == "callbacks" else content}
    Path("config.yaml").write_text(yaml.safe_dump(content))
    assert command("pretrain", "--config", "config.yaml", "--trainer.max_epochs=0") == 1
    assert not Path("harm").exists()
