"""The example of a plug-in works as a wheel, beside ours, in a fresh environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
OFFLINE = ("--no-index", "--no-deps")

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    """Run a command as outside of this repository; return what it prints."""
    hidden = ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def build(folder: Path) -> list[Path]:
    """Build both wheels with the hatchling that is installed here."""
    options = (*OFFLINE, "--no-build-isolation", "--wheel-dir", folder)
    run(*PIP, "wheel", *options, ROOT, PLUGIN, folder=folder.parent)
    return sorted(folder.glob("*.whl"))


def install(wheels: list[Path], folder: Path) -> Path:
    """Make an environment with the wheels, and our dependencies from this one."""
    venv.create(folder, symlinks=os.name != "nt")
    names = {"base": str(folder), "platbase": str(folder)}
    places = sysconfig.get_paths("venv", vars=names)
    programs = Path(places["scripts"])
    pip = (*PIP, "--python", programs / "python")
    run(*pip, "install", *OFFLINE, *wheels, folder=folder)
    # A path file gives what lies there, but not what is installed as editable.
    others = [each for each in sys.path if each.endswith("-packages")]
    Path(places["purelib"], "others.pth").write_text("\n".join(others))
    return programs


def commands(page: Path) -> list[list[str]]:
    """Return the calls of our program in a page."""
    text = page.read_text().replace("\\\n", " ")
    found = re.findall(r"^lightly-adv .*", text, flags=re.MULTILINE)
    return [shlex.split(each) for each in found]


def test_the_plugin_is_used_by_name(tmp_path: Path) -> None:
    plugin_wheel, our_wheel = sorted(
        build(tmp_path / "wheels"), key=lambda wheel: "example" not in wheel.name
    )
    packed = set(zipfile.ZipFile(our_wheel).namelist())
    package = ROOT / "lightly_adv"
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= packed

    programs = install([our_wheel, plugin_wheel], tmp_path / "environment")
    python = programs / "python"
    find = "import importlib.util as u; print(u.find_spec('lightly_adv').origin)"
    origin = Path(run(python, "-c", find, folder=tmp_path).strip())
    assert origin.is_relative_to(tmp_path / "environment")

    # From Python: the tests that the plug-in brings make both by name, and train.
    own = tmp_path / "plugin"
    shutil.copytree(PLUGIN, own, ignore=shutil.ignore_patterns("__pycache__"))
    printed = run(python, "-m", "pytest", "-q", folder=own)
    assert re.search(r"^\d+ passed in", printed, flags=re.MULTILINE), printed

    # From the command line, as the plug-in's own page says.
    ((program, *arguments),) = commands(PLUGIN / "README.md")
    quick = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]
    quick += ["--trainer.limit_val_batches=1", "--trainer.accelerator=cpu"]
    quick += ["--data.batch_size=8"]
    run(programs / program, *arguments, *quick, folder=tmp_path)
    out = tmp_path / "runs" / "pretrain"
    model = yaml.safe_load((out / "config.yaml").read_text())["model"]["init_args"]
    assert model["task"] == "gamma"
    assert model["attack"]["class_path"] == "lightly_adv_example.mi_fgsm.MIFGSM"
    assert model["attack"]["init_args"]["decay"] == 1.0
    logged = json.loads((out / "result.json").read_text())["logged"]
    assert {"train_robust_top1", "val_robust_top1"} <= logged.keys()
