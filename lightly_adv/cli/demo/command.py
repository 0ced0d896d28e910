"""The command itself: options, progress, and where the results go."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from lightly_adv.cli import console
from lightly_adv.cli.demo import report
from lightly_adv.cli.demo.arms import ARMS, Settings, begin, run_arm
from lightly_adv.cli.demo.workers import workers
from lightly_adv.evaluation.figures import canvas

DESCRIPTION = """\
Compare three ways to a robust classifier of handwritten digits, on a CPU:
adversarial training from scratch, and adversarial fine-tuning after standard or
adversarial rotation pre-training. All have the same few labels and fine-tune for as
long. Takes a few minutes; the trainings run side by side, one thread each.

Writes report.json, report.html and two figures. An older result in the same folder
is moved aside, not overwritten.
"""


def run(arguments: Sequence[str], settings: Settings | None = None) -> int:
    """Run the demo; return the exit code.

    Args:
        arguments: The command line.
        settings: Settings for tests. Defaults to those of the demo.
    """
    options = _parser().parse_args(arguments)
    settings = settings or Settings()
    canvas.new_figure(1, 1)  # is matplotlib there?
    moved = _move_aside(options.out)
    if moved is not None:
        console.say(f"demo: moved the older result to {moved}")
    console.say(f"demo: {len(options.seeds)} seeds, writing to {options.out}")
    started = time.perf_counter()
    results = _run_arms(dict.fromkeys(options.seeds), settings)
    seconds = time.perf_counter() - started
    rows = report.write(options.out, results, settings, seconds)
    notes = "\n".join(textwrap.fill(note, 88) for note in report.NOTES)
    console.say(f"\n{console.table(rows, report.COLUMNS)}\n\n{notes}")
    console.say(f"\n{seconds:.0f} seconds; see {options.out / 'report.html'}")
    return 0


def _run_arms(seeds: Iterable[int], settings: Settings) -> report.Results:
    """Return the results by seed and arm; show the progress meanwhile."""
    # The longest arm first, so that no process is left alone with it at the end.
    jobs = [(seed, arm) for arm in reversed(ARMS) for seed in seeds]
    results: dict[int, dict[str, Any]] = {seed: {} for seed in seeds}
    epochs = multiprocessing.get_context("spawn").Value("i", 0)
    bar = tqdm(
        total=len(results) * settings.total_epochs,
        desc="demo",
        bar_format="{desc} {percentage:3.0f} %|{bar}| {elapsed}",
        disable=not sys.stderr.isatty(),
    )
    count = min(len(jobs), os.cpu_count() or 1)
    with workers(count, begin, epochs) as pool, bar:
        waiting = {
            pool.submit(run_arm, arm, seed, settings): (seed, arm) for seed, arm in jobs
        }
        while waiting:
            done, _ = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            bar.update(epochs.value - bar.n)
            for future in done:
                seed, arm = waiting.pop(future)
                results[seed][arm] = future.result()
                bar.write(_line(seed, arm, results[seed][arm]["row"]), file=sys.stdout)
                sys.stdout.flush()
    return results


def _line(seed: int, arm: str, row: Mapping[str, Any]) -> str:
    clean, robust = row["clean_accuracy"], row["robust_accuracy"]
    return f"seed {seed}, {arm}: clean {clean:.1f} %, robust {robust:.1f} %"


def _move_aside(out: Path) -> Path | None:
    """Move an older result away; return where it is now."""
    if not out.exists():
        return None
    number = 1
    while (moved := out.with_name(f"{out.name}-{number}")).exists():
        number += 1
    return out.rename(moved)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightly-adv demo",
        description=DESCRIPTION,
        epilog="examples:\n  lightly-adv demo\n  lightly-adv demo --seeds 0 1 2 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/demo"), help="default: runs/demo")
    add("--seeds", type=int, nargs="+", default=[0, 1], help="default: 0 1")
    return parser
