from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml

from lightly_adv.attacks import AttackLike
from lightly_adv.cli.parser import Parser
from tests.cli.conftest import Command


def test_errors_are_raised_and_not_printed() -> None:
    parser = Parser()
    parser.add_argument("--count", type=int | None)
    with pytest.raises(ValueError, match=r'"count": Expected .*int.* Got value: x$'):
        parser.parse_args(["--count", "x"])


def test_errors_name_all_keys_and_the_cause_alone() -> None:
    parser = Parser()
    parser.add_argument("--attack", type=AttackLike | None)
    arguments = ["--attack", "lightly_adv.PGD", "--attack.threat_model.eps", "x"]
    with pytest.raises(ValueError, match=r"float.* Got value: x$") as raised:
        parser.parse_args(arguments)
    assert str(raised.value).count("\n") == 0
    keys = ('"attack"', '"threat_model.eps"', "Expected")
    assert [str(raised.value).count(each) for each in keys] == [1, 1, 1]


@pytest.mark.filterwarnings("ignore")
def test_errors_of_a_class_come_as_they_are() -> None:
    parser = Parser()
    parser.add_argument("--attack", type=AttackLike | None)
    config = parser.parse_args(
        ["--attack", "lightly_adv.PGD", "--attack.threat_model.eps", "8"]
    )
    with pytest.raises(ValueError, match=r"^eps=8 is larger.*8 / 255"):
        parser.instantiate_classes(config)


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


def test_whole_numbers_of_the_trainer_of_lightning() -> None:
    parser = Parser()
    parser.add_lightning_class_args(pl.Trainer, "trainer")
    names = ("limit_train_batches", "limit_val_batches", "val_check_interval")
    for name in names:
        found = vars(parser.parse_args([f"--trainer.{name}", "1"]).trainer)[name]
        assert (found, type(found)) == (1, int)


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
