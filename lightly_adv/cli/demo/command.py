"""The command itself: options, progress, and where the results go."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from lightly_adv.cli import console
from lightly_adv.cli.demo import results
from lightly_adv.cli.demo.settings import Settings
from lightly_adv.cli.demo.workers import Event, run_seeds

DESCRIPTION = """\
Compare three ways to a robust classifier of handwritten digits, on a CPU:
adversarial training from scratch, and adversarial fine-tuning after standard or
adversarial rotation pre-training. All have the same few labels and fine-tune for as
long. Takes a few minutes: the seeds run side by side, one thread each.

Writes report.json, report.html and three figures. An older result in the same folder
is moved aside, not overwritten.
"""

Found = dict[int, dict[str, dict[str, Any]]]
"""Results by seed and arm."""


def run(arguments: Sequence[str], settings: Settings | None = None) -> int:
    """Run the demo; return the exit code.

    Args:
        arguments: The command line.
        settings: Something else than the usual settings, for tests.
    """
    options = _parser().parse_args(arguments)
    settings = settings or Settings()
    results.check_installed()
    moved = _make_room(options.out)
    if moved is not None:
        console.say(f"demo: moved the older result to {moved}")
    console.say(f"demo: {len(options.seeds)} seeds, writing to {options.out}")
    started = time.perf_counter()
    found = _collect(options.seeds, settings)
    seconds = time.perf_counter() - started
    rows = results.write(options.out, found, settings, seconds=seconds)
    console.say(f"\n{console.table(rows, results.COLUMNS)}\n\n{results.NOTE}")
    console.say(f"\n{seconds:.0f} seconds; see {options.out / 'report.html'}")
    return 0


def _collect(seeds: Sequence[int], settings: Settings) -> Found:
    """Run the seeds, show how far they are, and return what they found."""
    found: Found = {seed: {} for seed in seeds}
    total = len(seeds) * settings.total_epochs
    layout = "{desc} {percentage:3.0f} %|{bar}| {elapsed} {postfix}"
    with tqdm(
        total=total, desc="demo", bar_format=layout, disable=not sys.stderr.isatty()
    ) as bar:
        for event in run_seeds(seeds, settings):
            if event.kind == "epoch":
                bar.update("/" in event.stage)
                bar.set_postfix_str(f"seed {event.seed}: {_progress(event)}")
            elif event.kind == "result":
                found[event.seed][event.stage] = event.content
                bar.write(_finished(event), file=sys.stdout)
                sys.stdout.flush()
    return found


def _progress(event: Event) -> str:
    logged = event.content
    shown = {"loss": "train_loss", "top1": "val_top1", "robust": "val_robust_top1"}
    numbers = [f"{name} {logged[k]:.3g}" for name, k in shown.items() if k in logged]
    return "  ".join([event.stage, *numbers])


def _finished(event: Event) -> str:
    result = event.content
    return (
        f"seed {event.seed}, {event.stage}: clean {result['clean_accuracy']:.1f} %, "
        f"robust {result['robust_accuracy']:.1f} %"
    )


def _make_room(out: Path) -> Path | None:
    """Move an older result aside; return where it is now."""
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
