"""How fast are attacks and adversarial training on this GPU? All in eight minutes.

Nothing is needed but this folder and the package: networks have random weights, images
are noise. Each section runs in a process of its own, which is ended when its time is
up, so that a compiler that hangs or a card that runs out of memory costs one section.

    python examples/benchmarks/gpu.py --out gpu.json
    python examples/benchmarks/gpu.py --small --device cpu     # a trial, in seconds

It prints one line per row and writes all to a JSON file: `machine`, `rows`, `skipped`
with reasons. torchattacks and foolbox are compared where they are installed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

# The profiler reports its own steps otherwise.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import gpu_attacks
import gpu_training
import torch
from gpu_measure import Record, Setting

from lightly_adv import versions

SHARES = {
    "resnet18_32": 75,
    "vit_s14_98": 80,
    "vit_s14_224": 85,
    "simclr_resnet50_224": 70,
    "methods": 80,
    "tests": 80,
}
"""How the time is shared out; what a section does not use goes to those behind it."""

ROOT = Path(__file__).parents[2]


def machine(device: str) -> dict[str, Any]:
    """Return card, versions, date and what decides about precision."""
    cuda = device.startswith("cuda")
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "minutes"),
        "versions": versions.versions(),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "tf32": {
            "convolutions": torch.backends.cudnn.allow_tf32,
            "products": torch.backends.cuda.matmul.allow_tf32,
        },
    }
    for name in ("torchattacks", "foolbox", "torchvision"):
        try:
            found["versions"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found["versions"][name] = None
    if cuda:
        found["memory_gib"] = round(torch.cuda.mem_get_info()[1] / 2**30, 1)
    return found


def run_section(name: str, setting: Setting, part: Path) -> None:
    """Run a section here; what goes wrong in it is written down, not raised."""
    record = Record(part, section=name)
    with record.case("section"):
        SECTIONS[name](record, setting)


def start_section(name: str, setting: Setting, part: Path, timeout: float) -> None:
    """Run a section in a process of its own, and end that when its time is up."""
    options = ["--section", name, "--device", setting.device, "--part", str(part)]
    options += ["--seconds", str(setting.budget)] + ["--small"] * setting.small
    record = Record(part, section=name)
    process = subprocess.Popen(
        [sys.executable, __file__, *options], start_new_session=True
    )
    try:
        if code := process.wait(timeout=timeout):
            record.skip("the rest", f"the process ended with {code}")
    except subprocess.TimeoutExpired:
        record.skip("the rest", f"stopped after {timeout:.0f} s, its share of the time")
    finally:
        # With all that it started, such as compilers and tests.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def gpu_tests(record: Record, setting: Setting) -> None:
    """Run the tests that are marked `gpu`."""
    if not setting.cuda:
        return record.skip("pytest -m gpu", "needs CUDA")
    if not (ROOT / "tests").is_dir():
        return record.skip("pytest -m gpu", f"there are no tests in {ROOT}")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests", "-q"]
    start, seconds = time.perf_counter(), max(setting.left, 1.0)
    try:
        done = subprocess.run(
            [*command, "--maxfail", "5", "-p", "no:cacheprovider"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        tail = (error.stdout or b"")[-200:].decode(errors="replace")
        reason = f"stopped after {seconds:.0f} s, at: {tail}"
        return record.skip("pytest -m gpu", reason)
    lines = done.stdout.strip().splitlines()
    record.row(
        "pytest -m gpu",
        passed=done.returncode == 0,
        summary=lines[-1] if lines else done.stderr[-500:],
        failures=[line for line in lines if line.startswith(("FAILED", "ERROR"))],
        seconds=time.perf_counter() - start,
    )


SECTIONS: dict[str, Callable[[Record, Setting], None]] = {
    **{name: partial(gpu_attacks.attacks, name=name) for name in gpu_attacks.NETWORKS},
    "simclr_resnet50_224": gpu_training.callback,
    "methods": gpu_training.methods,
    "tests": gpu_tests,
}


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Run all sections within the time there is; return what goes into the file."""
    began, parts = time.perf_counter(), Path(f"{options.out}.parts")
    parts.unlink(missing_ok=True)
    content = {"machine": machine(options.device)}
    print(json.dumps(content["machine"]), flush=True)
    names = options.sections or list(SHARES)
    for at, name in enumerate(names):
        left = options.seconds - (time.perf_counter() - began)
        share = left * SHARES[name] / sum(SHARES[other] for other in names[at:])
        setting = Setting(options.device, small=options.small, budget=share)
        if options.small:
            run_section(name, setting, parts)
        else:
            start_section(name, setting, parts, timeout=share)
        content |= read_parts(parts)
        content["seconds"] = round(time.perf_counter() - began, 1)
        Path(options.out).write_text(json.dumps(content, indent=1) + "\n")
    parts.unlink(missing_ok=True)
    return content


def read_parts(parts: Path) -> dict[str, list[Any]]:
    lines = [json.loads(line) for line in parts.read_text().splitlines()]
    return {
        "rows": [line for line in lines if "reason" not in line],
        "skipped": [line for line in lines if "reason" in line],
    }


def main(arguments: list[str] | None = None) -> dict[str, Any] | None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="gpu.json")
    parser.add_argument("--seconds", type=float, default=455.0, help="for everything")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny, in this process")
    parser.add_argument("--sections", nargs="+", choices=list(SHARES))
    parser.add_argument("--section", choices=list(SHARES), help=argparse.SUPPRESS)
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --small --device cpu tries the script.")
    if options.section is None:
        return run_all(options)
    setting = Setting(options.device, small=options.small, budget=options.seconds)
    run_section(options.section, setting, options.part)
    return None


if __name__ == "__main__":
    main()
