"""Where evaluations write."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightly_adv.cli.evaluation import Output, plain_parser


def report() -> Any:
    return SimpleNamespace(to_markdown=lambda: "# table", to_html=lambda: "<p>")


def output(path: Path) -> Output:
    return Output(path, "evaluate", (".html", ".md"))


@pytest.mark.parametrize("name", ["new/eps-0.5.json", "new/eps-0.5"])
def test_all_files_have_one_name(tmp_path: Path, name: str) -> None:
    told = output(tmp_path / name).claim().write(report(), {"a": [1, 2]})
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "eps-0.5.html",
        "eps-0.5.json",
        "eps-0.5.md",
    ]
    assert json.loads((tmp_path / "new" / "eps-0.5.json").read_text()) == {"a": [1, 2]}
    assert str(tmp_path / "new" / "eps-0.5.json") in told


@pytest.mark.parametrize("ending", [".json", ".html", ".md"])
def test_nothing_is_overwritten(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"mine{ending}").write_text("mine")
    with pytest.raises(FileExistsError, match=f"mine{ending} exists; .* --out"):
        output(tmp_path / "mine.json").claim()


def test_what_was_begun_is_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = output(tmp_path / "mine.json")
    for name in ("mine.html", "mine.json.state", "mine.json.state.curve"):
        (tmp_path / name).write_text("begun")
    (tmp_path / "mine.json.other").write_text("of somebody else")
    begun.claim().write(report(), {})
    assert f"going on from {begun.state}" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.state*"))
    assert (tmp_path / "mine.json.other").exists()
    begun.state.write_text("again")
    with pytest.raises(FileExistsError, match=r"mine\.json exists"):
        begun.claim()


@pytest.mark.parametrize("option", ["--max_samples", "--max-samples"])
def test_options_are_taken_with_dashes_too(option: str) -> None:
    parser = plain_parser("evaluate", "Evaluate.")
    parser.add_argument("some_runs", nargs="*")
    parser.add_argument("--max_samples", type=int)
    found = parser.parse_args(["runs/a", option, "3"])
    assert vars(found) == {"some_runs": ["runs/a"], "max_samples": 3}
