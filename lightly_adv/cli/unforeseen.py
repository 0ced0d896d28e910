"""`lightly-adv unforeseen`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lightly_adv.cli import attacked, console, loaders
from lightly_adv.cli.run_folder import write_json
from lightly_adv.evaluation import UnforeseenReport, evaluate_unforeseen, figures
from lightly_adv.evaluation.unforeseen import ATTACKS
from lightly_adv.evaluation.unforeseen.attacks import resolve

EXAMPLES = f"""\
Each attack is run at six strengths, on the test images of the run that the checkpoint
lies in; options of the data change them. The table has the accuracy at each strength in
percent. After a kill the same command goes on where it was: what is lost is the batch
in work, which --data.batch_size makes smaller.

attacks:
  {", ".join(ATTACKS)}

examples:
  lightly-adv unforeseen runs/finetune/checkpoints/best-robust.ckpt --max_samples 1000
  lightly-adv unforeseen runs/finetune/checkpoints/last.ckpt --attacks fog snow
  lightly-adv unforeseen runs/finetune/checkpoints/last.ckpt --steps 20 \\
    --max_samples 200 --data.root OTHER_IMAGES
"""


def run(arguments: Sequence[str]) -> int:
    """Attack a classifier in ways it was not trained against; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    attacks = resolve(options.attacks)
    cli = attacked.restore(options.checkpoint, others)
    facts = attacked.facts(options.checkpoint)
    out: Path = options.out or cli.folder.path / _file_name(options)
    for path in (out, out.with_suffix(".png")):
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another file with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    state = out.with_name(f"{out.name}.state")
    if state.exists():
        console.say(f"unforeseen: going on from {state}")
    loader, order = loaders.test_images(cli.datamodule)
    report = evaluate_unforeseen(
        cli.model,
        loader,
        attacks,
        steps=options.steps,
        max_samples=options.max_samples,
        device=cli.trainer.strategy.root_device,
        seed=options.seed,
        progress=sys.stderr.isatty(),
        state=state,
    )
    console.say(_text(report))
    content = json.loads(report.to_json(name=options.checkpoint.stem))
    write_json(out, {**content, "order": order, **facts})
    state.unlink()
    console.say(f"unforeseen: the report is in {out}{_drawn(report, out)}")
    return 0


def _drawn(report: UnforeseenReport, out: Path) -> str:
    """Draw the figure if that can be done; return what to say of it."""
    if importlib.util.find_spec("matplotlib") is None:
        return "; for a figure pip install lightly-adv[plot]"
    path = figures.save(report.figure(), out.with_suffix(".png"))
    return f", the figure in {path.name}"


def _text(report: UnforeseenReport) -> str:
    """Return the accuracies as a table, and the summary with its warnings."""
    most = max(len(attack.eps) for attack in report.attacks)
    strengths = {f"eps_{number}": f"eps {number}" for number in range(1, most + 1)}
    columns = {"attack": "attack", **strengths, "mean": "mean", "uar": "UAR"}
    return f"{console.table(report.table(), columns)}\n{report}"


def _file_name(options: argparse.Namespace) -> str:
    """Name the report after what differs from the usual."""
    parts = ["unforeseen", options.checkpoint.stem, *(options.attacks or ())]
    if options.steps != 200:
        parts.append(f"{options.steps}-steps")
    if options.max_samples is not None:
        parts.append(f"{options.max_samples}-images")
    return f"{'-'.join(parts)}.json"


def _parser() -> argparse.ArgumentParser:
    parser = attacked.parser(
        "unforeseen",
        "Measure accuracy under attacks that a fine-tuned classifier was not trained "
        "against.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="<run>/checkpoints/<name>.ckpt")
    add("--attacks", nargs="+", metavar="NAME", help="default: all ten")
    add("--steps", type=int, default=200, help="gradient steps; default: 200")
    add(
        "--max_samples",
        type=int,
        help="use only that many test images, of all classes alike; default: all",
    )
    add("--seed", type=int, default=0, help="seed of starts and targets; default: 0")
    add(
        "--out", type=Path, help="JSON file to write; default: in the folder of the run"
    )
    return parser
