"""Training that is killed or stopped anywhere, and resumed, ends as if it had not."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightly_adv.cli.checkpoints import SaveLast
from lightly_adv.cli.main import main

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals"),
]

ROOT = Path(__file__).parents[2]
STEPS, EPOCHS = 12, 2
ATTACK = {
    "class_path": "lightly_adv.PGD",
    "init_args": {"threat_model": {"eps": 0.1}, "steps": 1},
}
CONFIGS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "model": {
            "class_path": "lightly_adv.methods.PretextModule",
            "init_args": {"backbone": "resnet8_tiny", "attack": ATTACK},
        }
    },
    "finetune": {
        "model": {"backbone": "resnet8_tiny", "attack": ATTACK},
        "evaluation": {"suite": "smoke", "max_val_samples": 8},
    },
}


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of the run of a command that is not stopped."""

    @functools.cache
    def run(command: str) -> Path:
        folder = tmp_path_factory.mktemp(command)
        config = write_config(folder / "config.yaml", command)
        out = folder / "straight"
        assert main([command, "--config", str(config), "--out", str(out)]) == 0
        return out

    return run


def write_config(path: Path, command: str, **data: Any) -> Path:
    content = {
        **CONFIGS[command],
        "data": {"class_path": "tests.cli.tiny.SixBatches", "init_args": data},
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def resume(command: str, out: Path) -> None:
    last = out / "checkpoints" / "last.ckpt"
    options = ["--config", str(out / "config.yaml"), "--ckpt_path", str(last)]
    assert main([command, *options]) == 0


def ends(out: Path) -> dict[str, Any]:
    """Return all that a run ends with, but for how long it took."""
    result = json.loads((out / "result.json").read_text())
    result.get("logged", {}).pop("images_per_second", None)
    found: dict[str, Any] = {"result": result}
    for path in sorted((out / "checkpoints").glob("[bl][ea]s*.ckpt")):
        content = torch.load(path, weights_only=True)
        keys = ("state_dict", "optimizer_states", "lr_schedulers", "global_step")
        found[path.name] = {key: content[key] for key in keys}
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def strike(monkeypatch: pytest.MonkeyPatch, step: int, number: int | None) -> None:
    """Send a signal in a step, or end the process as far as one can from within."""

    def hook(self: Any, trainer: Any, *_: Any) -> None:
        if trainer.global_step == step:
            monkeypatch.undo()
            if number is None:
                raise Killed
            os.kill(os.getpid(), number)

    # An odd step is met before its batch, an even one after its backward pass.
    where = "on_train_batch_start" if step % 2 else "on_before_optimizer_step"
    monkeypatch.setattr(SaveLast, where, hook, raising=False)


SIGNALS = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "KILL": None}


@pytest.mark.parametrize("command", CONFIGS)
@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("place", [0, 1])
def test_stopped_within_an_epoch(
    straight: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    place: int,
) -> None:
    whole = straight(command)
    step = random.Random(f"{command} {name} {place}").randrange(STEPS)
    out = tmp_path / "run"
    arguments = ["--config", str(whole.parent / "config.yaml"), "--out", str(out)]
    # Killed runs save after every batch, so that they go on within an epoch, too.
    monkeypatch.setattr(SaveLast, "_is_due", lambda *_: bool(place))
    strike(monkeypatch, step, SIGNALS[name])
    with suppress(Killed):
        code = main([command, *arguments])
        assert code == {"INT": 130, "TERM": 143}[name]
    resume(command, out)
    assert same(ends(out), ends(whole)), step


def test_twice_and_with_workers(
    straight: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, whole = "pretrain", straight("pretrain")
    config = write_config(tmp_path / "config.yaml", command, num_workers=1)
    out = tmp_path / "run"
    strike(monkeypatch, 2, signal.SIGHUP)
    assert main([command, "--config", str(config), "--out", str(out)]) == 129
    strike(monkeypatch, 9, signal.SIGTERM)
    last = str(out / "checkpoints" / "last.ckpt")
    options = ["--config", str(out / "config.yaml"), "--ckpt_path", last]
    assert main([command, *options]) == 143
    resume(command, out)
    assert same(ends(out), ends(whole))


def test_a_finished_run_gives_its_result_again(
    straight: Callable[[str], Path],
) -> None:
    whole = straight("pretrain")
    before = ends(whole)
    (whole / "result.json").unlink()
    resume("pretrain", whole)
    assert same(ends(whole), before)


def children(process: subprocess.Popen[bytes]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def alive(pid: int) -> bool:
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    return False


Process = subprocess.Popen[bytes]


@contextmanager
def slow(*arguments: str) -> Iterator[Process]:
    """Run a command that takes a while in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.slow", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_workers(process: Process, file: Path | None = None) -> list[int]:
    """Return the workers as soon as there are two, and a file as well."""
    deadline = time.monotonic() + 120
    while len(children(process)) < 2 or (file and not file.exists()):
        assert process.poll() is None, "it came to an end by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return children(process)


def end(process: Process, workers: list[int], number: int) -> int:
    """Send a signal; the workers have to be gone within a second of the command."""
    process.send_signal(number)
    code = process.wait(timeout=60)
    deadline = time.monotonic() + 1
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, workers))
    return code


needs_proc = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="looks into /proc"
)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_real_signal_ends_the_workers_too(
    straight: Callable[[str], Path], tmp_path: Path, number: int
) -> None:
    config = write_config(tmp_path / "config.yaml", "pretrain", num_workers=2)
    out = tmp_path / "run"
    with slow("pretrain", "--config", str(config), "--out", str(out)) as process:
        # It is in its second epoch then.
        before = out / "checkpoints" / "before-last.ckpt"
        end(process, wait_for_workers(process, before), number)
    resume("pretrain", out)
    assert same(ends(out), ends(straight("pretrain")))


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_an_evaluation_ends_with_its_workers_and_goes_on(
    straight: Callable[[str], Path], tmp_path: Path, number: int
) -> None:
    options = ["--data.num_workers", "2", "--suite", "smoke", "--curve_samples", "0"]
    run = str(straight("finetune"))
    whole, out = tmp_path / "whole.json", tmp_path / "ended.json"
    with slow("evaluate", run, *options, "--out", str(out)) as process:
        code = end(process, wait_for_workers(process), number)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert not out.exists()
    for path in (out, whole):
        assert main(["evaluate", run, *options, "--out", str(path)]) == 0
    assert json.loads(out.read_text()) == json.loads(whole.read_text())
