from __future__ import annotations

from pathlib import Path

import pytest

from lightly_adv import __version__
from lightly_adv.cli.main import COMMANDS, main
from tests.cli.conftest import Command


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["help"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"\n  {name}" in shown for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lightly-adv {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert f"lightly-adv {name}" in shown


def test_an_unknown_command_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrian"]) == 2
    assert "Did you mean 'pretrain'" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrain --model.task rotaton", "Did you mean 'rotation'?"),
        ("pretrain --model.backbone resnet8_tyni", "Did you mean 'resnet8_tiny'"),
        ("pretrain --model.attack PGD --model.attack.threat_model.eps 8", "8 / 255?"),
        (
            "pretrain --model.attack pdg",
            "'pdg' is neither a registered attack (apgd, ap",
        ),
        (
            "pretrain --model.lr fast",
            "\"lr\": Expected a <class 'float'>. Got value: fast",
        ),
        ("pretrain --nonsense 1", "unrecognized arguments: --nonsense"),
        ("pretrain --config nix.yaml", "File does not exist"),
        ("pretrain --ckpt_path nix.ckpt", "there is no checkpoint at nix.ckpt"),
        ("pretrain --data ImageFolderDataModule --data.root nix", "nix"),
        ("finetune --model.checkpoint nix.ckpt", "there is no checkpoint at nix.ckpt"),
        ("finetune --model.trainable tail", "model.trainable"),
        ("finetune --evaluation.suite pgd-21", "Did you mean 'pgd-20'"),
        ("finetune --data tests.cli.tiny.NoClasses", "NoClasses has no num_classes"),
        ("evaluate nix.ckpt", "at nix.ckpt; expected the folder of a run"),
        (
            "evaluate resnet18",
            "at resnet18, but timm has a network of this name; give ",
        ),
        ("robustify resnet18 --data .", "give it as --backbone resnet18"),
    ],
)
def test_mistakes_are_told_in_one_line(
    command: Command, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*arguments.split()) == 1
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("lightly-adv: error: ")
    assert message in shown
    assert not list(Path().glob("runs/*"))


def test_a_traceback_is_shown_when_asked_for(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTLY_ADV_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        command("evaluate", "nix.ckpt")
