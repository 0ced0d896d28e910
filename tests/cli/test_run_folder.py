from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightly_adv.cli.run_folder import RunFolder, write_json
from tests import damage


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that has written."""
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    folder.last_checkpoint.touch()
    (folder.path / "config.yaml").touch()
    return folder


def test_a_new_or_empty_folder_is_fine(tmp_path: Path) -> None:
    RunFolder(tmp_path / "new").check(None)
    RunFolder(tmp_path).check(None)


def test_another_run_is_not_written_over(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match=r"not empty; choose.*--ckpt_path .*last"):
        run.check(None)
    other = tmp_path / "other.ckpt"
    other.touch()
    with pytest.raises(FileExistsError, match="choose another folder with --out"):
        run.check(other)


def test_a_run_goes_on_from_its_own_checkpoint(run: RunFolder) -> None:
    run.check(run.last_checkpoint)


def test_missing_checkpoints_and_files_are_named(
    run: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at nix\.ckpt"):
        run.check(Path("nix.ckpt"))
    with pytest.raises(FileExistsError, match="is a file"):
        RunFolder(run.last_checkpoint).check(None)


def test_the_run_of_a_checkpoint(run: RunFolder, tmp_path: Path) -> None:
    found = RunFolder.of_checkpoint(run.last_checkpoint)
    assert found.path == run.path.resolve()
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        RunFolder.of_checkpoint(tmp_path / "nix.ckpt")
    stray = tmp_path / "stray.ckpt"
    stray.touch()
    with pytest.raises(FileNotFoundError, match="does not lie in the folder of a run"):
        RunFolder.of_checkpoint(stray)


def test_what_is_written(run: RunFolder) -> None:
    run.write_run(["lightly-adv", "x"], status="finished", seed=3)
    content = json.loads((run.path / "run.json").read_text())
    assert content["command"] == ["lightly-adv", "x"]
    assert (content["status"], content["seed"]) == ("finished", 3)
    assert content["seconds"] >= 0
    assert {"python", "torch", "lightly-adv"} <= set(content["versions"])
    run.write_result([{"name": "a", "clean_accuracy": 1.0}], more=2)
    assert json.loads((run.path / "result.json").read_text()) == {
        "rows": [{"name": "a", "clean_accuracy": 1.0}],
        "more": 2,
    }


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_json(path, [1])
    write_json(path, [2])
    assert json.loads(path.read_text()) == [2]
    assert [each.name for each in path.parent.iterdir()] == ["b.json"]


def test_only_what_is_empty_is_removed(run: RunFolder, tmp_path: Path) -> None:
    (run.path / "logs" / "version_0").mkdir(parents=True)
    run.remove_empty()
    assert run.last_checkpoint.exists()
    assert not (run.path / "logs").exists()
    empty = RunFolder(tmp_path / "empty")
    (empty.path / "logs").mkdir(parents=True)
    empty.remove_empty()
    assert not empty.path.exists()


def test_the_command_of_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no .*run\.json; expected the run"):
        folder.command()
    for command in ("pretrain", "finetune"):
        folder.write_run(["lightly-adv", command, "--out", "x"], seed=0)
        assert folder.command() == command


def test_a_damaged_run_json_is_told_in_a_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_run(["lightly-adv", "finetune"], seed=0)
    path = tmp_path / "run.json"
    content = json.loads(path.read_text())
    told = damage.complaints(path, content, folder.command)
    assert len(told) > 40
    assert all("run.json" in text and "\n" not in text for text in told)
    for command in (
        ["lightly-adv"],
        ["lightly-adv", "evaluate"],
        "lightly-adv finetune",
    ):
        path.write_text(json.dumps({"command": command}))
        with pytest.raises(ValueError, match=r"'command' in it is .*finetune"):
            folder.command()
