from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import LightningModule

from lightly_adv import FGSM, PGD, ThreatModel, attacks, register_attack
from lightly_adv.attacks import Attack, AttackLike, AttackSchedule
from lightly_adv.cli.parser import Parser

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Careful(PGD):
    care: float = 1.0


def quick(threat_model: ThreatModel, care: int = 2) -> PGD:
    return PGD(threat_model, steps=care)


class Own(LightningModule):
    """A module that takes the name of an attack itself."""

    def __init__(self, attack: str = "none") -> None:
        super().__init__()
        self.attack = attack


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = dict(attacks.REGISTRY._entries)
    monkeypatch.setattr(attacks.REGISTRY, "_entries", kept)
    register_attack("careful")(Careful)
    register_attack("quick")(quick)
    register_attack("nameless")(lambda threat_model: PGD(threat_model))


def parse(*arguments: str) -> Any:
    parser = Parser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--attack", type=AttackLike | None)
    parser.add_argument("--val_attack", type=Attack | None)
    parser.add_argument("--model", type=LightningModule)
    return parser.instantiate_classes(parser.parse_with_names(arguments))


def test_a_name_takes_the_options_of_its_class() -> None:
    found = parse(
        "--attack", "careful", "--attack.care=0.5", "--attack.threat_model.eps=0.1"
    )
    assert found.attack == Careful(ThreatModel(eps=0.1), care=0.5)


def test_both_spellings_and_other_options_ending_in_attack() -> None:
    found = parse("--attack=fgsm", "--val_attack", "pgd", "--val_attack.steps", "3")
    assert isinstance(found.attack, FGSM)
    assert found.val_attack == PGD(ThreatModel(), steps=3)


def test_classes_are_named_as_before() -> None:
    assert type(parse("--attack", "PGD").attack) is PGD
    path = f"{__name__}.Careful"
    assert type(parse("--attack", path).attack) is Careful
    assert parse("--attack", "null").attack is None


def test_a_function_can_stand_behind_a_name() -> None:
    assert parse("--attack", "quick", "--attack.care", "4").attack.steps == 4


def test_names_in_yaml(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "val_attack: pgd\n"
        "attack:\n"
        "  class_path: AttackSchedule\n"
        "  init_args:\n"
        "    ramp: 1/2\n"
        "    attack: {class_path: careful, init_args: {care: 1/4}}\n"
    )
    found = parse("--config", str(file))
    assert found.attack == AttackSchedule(Careful(ThreatModel(), care=0.25), ramp=0.5)
    assert type(found.val_attack) is PGD


@pytest.mark.parametrize("attack", ["pgd", "none", "unheard-of"])
def test_a_module_that_takes_names_gets_them(attack: str) -> None:
    found = parse("--model", f"{__name__}.Own", "--model.attack", attack)
    assert found.model.attack == attack


def test_what_cannot_be_imported_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'nameless' is registered as .* no import"):
        parse("--attack", "nameless")


def test_a_broken_plugin_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    info = tmp_path / "plugbroken-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Name: plugbroken\nVersion: 1.0\n")
    points = "[lightly_adv.attacks]\nbroken = plugbroken:Attack\n"
    info.joinpath("entry_points.txt").write_text(points)
    assert type(parse("--attack", "pgd").attack) is PGD
    message = r"attack 'broken', provided by plugbroken \(plugbroken:Attack\), failed"
    with pytest.raises(ImportError, match=message):
        parse("--attack", "broken")


@pytest.mark.parametrize("option", [("--attack", "pdg"), ("--val_attack=pdg",)])
def test_unknown_names_list_the_known_ones(option: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"'pdg' .*apgd, .*pgd.*import path"):
        parse(*option)


def test_other_errors_say_nothing_of_names() -> None:
    with pytest.raises(ValueError, match=r"steps.*Expected.*Got value: x") as raised:
        parse("--attack", "Careful", "--attack.steps", "x")
    assert "registered" not in str(raised.value)
