from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

import lightly_adv
from lightly_adv import evaluation
from lightly_adv.registry import PluginClashError, Registry


def install(folder: Path, name: str, entry: str, code: str = "") -> None:
    """Write a distribution with one entry point, as pip would."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(f"[example.things]\n{entry}\n")
    (folder / f"{name}.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def things() -> Registry[int]:
    return Registry[int]("thing", "example.things")


def test_a_plugin_is_found_by_name_and_loaded_only_when_asked(
    site: Path, things: Registry[int]
) -> None:
    install(site, "plugone", "one = plugone:make", "def make(by=1):\n    return by\n")
    assert things.list() == ["one"]
    assert things.is_registered("one")
    assert "plugone" not in sys.modules
    assert things.create("one", by=5) == 5
    assert "plugone" in sys.modules


def test_a_broken_plugin_fails_only_its_own_name(
    site: Path, things: Registry[int]
) -> None:
    install(site, "plugbad", "bad = plugbad:make", "raise RuntimeError('no driver')\n")
    install(site, "pluggood", "good = pluggood:make", "def make():\n    return 2\n")
    assert things.list() == ["bad", "good"]
    assert things.create("good") == 2
    message = r"thing 'bad', provided by plugbad \(plugbad:make\).*no driver"
    with pytest.raises(ImportError, match=message):
        things.create("bad")


def test_a_clash_names_both_packages_and_leaves_other_names_alone(
    site: Path, things: Registry[int]
) -> None:
    for at, name in enumerate(("plugleft", "plugright")):
        code = f"def make():\n    return {at}\n"
        install(site, name, f"same = {name}:make\nonly-{name} = {name}:make", code)
    message = (
        r"provide the thing 'same': plug(left|right) \(plug\1:make\) and "
        r"(?!plug\1)plug(left|right) \(plug\2:make\). Uninstall all but one"
    )
    with pytest.raises(PluginClashError, match=message):
        things.create("same")
    assert things.list() == ["only-plugleft", "only-plugright", "same"]
    assert things.create("only-plugleft") == 0
    assert things.create("only-plugright") == 1
    things.register("same", override=True)(lambda: 7)
    assert things.create("same") == 7


def test_three_packages_with_one_name_are_all_named(
    site: Path, things: Registry[int]
) -> None:
    names = ("plugfirst", "plugsecond", "plugthird")
    for name in names:
        install(site, name, f"same = {name}:make", "def make():\n    return 1\n")
    with pytest.raises(PluginClashError) as caught:
        things.create("same")
    assert all(f"{name} ({name}:make)" in str(caught.value) for name in names)


def test_a_package_found_twice_is_no_clash(
    site: Path, tmp_path_factory: pytest.TempPathFactory, things: Registry[int]
) -> None:
    """As where an editable installation lies beside a wheel."""
    other = tmp_path_factory.mktemp("other")
    for folder in (site, other):
        install(
            folder, "plugonce", "once = plugonce:make", "def make():\n    return 3\n"
        )
    sys.path.append(str(other))
    try:
        assert things.create("once") == 3
    finally:
        sys.path.remove(str(other))


def test_a_built_in_name_that_a_plugin_takes_clashes(site: Path) -> None:
    install(site, "plugpgd", "unused = plugpgd:make", "def make():\n    return 1\n")
    entries = site / "plugpgd-1.0.dist-info" / "entry_points.txt"
    entries.write_text("[lightly_adv.attacks]\npgd = plugpgd:make\n")
    with pytest.raises(
        PluginClashError, match=r"'pgd': plugpgd .*lightly_adv\.attacks"
    ):
        lightly_adv.create_attack("pgd", threat_model=lightly_adv.ThreatModel())
    assert lightly_adv.create_attack("fgsm", threat_model=lightly_adv.ThreatModel())


def test_an_entry_point_to_a_module_is_told_apart(
    site: Path, things: Registry[int]
) -> None:
    install(site, "plugmodule", "whole = plugmodule", "def make():\n    return 1\n")
    message = r"provided by plugmodule \(plugmodule\), is a module.*'package.module:Cl"
    with pytest.raises(ImportError, match=message):
        things.create("whole")


def test_load_gives_the_factory_itself(things: Registry[int]) -> None:
    def make() -> int:
        raise AssertionError("only create calls it")

    things.register("lazy")(make)
    assert things.load("lazy") is make


def test_a_taken_name_is_refused_unless_overridden(
    site: Path, things: Registry[int]
) -> None:
    install(site, "plugtwo", "two = plugtwo:make", "def make():\n    return 2\n")
    things.register("two")(lambda: 21)  # is no error: built-ins must import
    with pytest.raises(PluginClashError, match=r"'two': plugtwo .*override=True"):
        things.create("two")
    with pytest.raises(ValueError, match=r"'two' is already registered by .*override"):
        things.register("two")
    things.register("two", override=True)(lambda: 22)
    assert things.create("two") == 22


def test_unknown_names_list_the_near_and_the_known_ones(things: Registry[int]) -> None:
    with pytest.raises(ValueError, match=r"Unknown thing 'x'. Known: none"):
        things.create("x")
    things.register("rotation")(lambda: 1)
    things.register("jigsaw")(lambda: 2)
    message = r"Unknown thing 'rotations'. Did you mean 'rotation'\? Known: jigsaw, rot"
    with pytest.raises(ValueError, match=message):
        things.create("rotations")


def test_lists_take_patterns(things: Registry[int]) -> None:
    for name in ("pgd", "pgd-20", "smoke"):
        things.register(name)(lambda: 1)
    assert things.list("pgd*") == ["pgd", "pgd-20"]


def test_built_ins_need_no_entry_points() -> None:
    for group, names in (
        ("attacks", lightly_adv.list_attacks()),
        ("pretext_tasks", lightly_adv.list_pretext_tasks()),
        ("methods", lightly_adv.list_methods()),
        ("suites", lightly_adv.list_suites()),
        ("corruptions", evaluation.list_corruptions()),
        ("unforeseen_attacks", evaluation.list_unforeseen_attacks()),
    ):
        installed = metadata.entry_points(group=f"lightly_adv.{group}")
        assert set(names) - {point.name for point in installed}


def test_public_names_are_there() -> None:
    for module, kinds in (
        (lightly_adv, ("attack", "pretext_task", "method", "suite")),
        (evaluation, ("suite", "corruption", "unforeseen_attack")),
    ):
        for kind in kinds:
            for name in (f"create_{kind}", f"list_{kind}s", f"register_{kind}"):
                assert callable(getattr(module, name))


def test_names_and_objects_are_resolved(things: Registry[int]) -> None:
    things.register("one")(lambda: 1)
    assert things.resolve("one", int) == things.resolve(1, int) == 1
    with pytest.raises(TypeError, match=r"thing is a float; expected a int or .*'one'"):
        things.resolve(1.0, int)


def test_several_names_are_resolved_each_once() -> None:
    suites = lightly_adv.evaluation.suites.REGISTRY
    kind = lightly_adv.evaluation.Suite
    assert [x.name for x in suites.resolve_all(["smoke", "pgd-20"], kind)] == [
        "smoke",
        "pgd-20",
    ]
    for values, words in (
        ("smoke", r"'smoke' is one suite; expected a list, \['smoke'\]"),
        ("smok", "Unknown suite 'smok'. Did you mean 'smoke'"),
        ([], "expected one or more, each once"),
        (["smoke", "smoke"], "expected one or more, each once"),
    ):
        with pytest.raises(ValueError, match=words):
            suites.resolve_all(values, kind)
