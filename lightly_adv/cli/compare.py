r"""Say which of two evaluated models is more robust.

Both reports have to be of the same images, suite and threat model. Differences are
those of single images, B minus A, with intervals of a paired bootstrap; they say how
much the choice of the images matters, not how much the training does.

Examples:
  lightly-adv compare runs/a/evaluation-last-apgd-Linf-8-255.json \
    runs/b/evaluation-last-apgd-Linf-8-255.json
  lightly-adv compare a.json b.json --out comparison.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from lightly_adv.cli import console
from lightly_adv.cli.evaluation import Output, plain_parser
from lightly_adv.evaluation import comparison
from lightly_adv.evaluation.comparison import Comparison


def run(arguments: Sequence[str]) -> int:
    """Compare two reports; return the exit code."""
    options = _parser().parse_args(arguments)
    output = None if options.out is None else Output(options.out, "compare").claim()
    found = comparison.compare(options.first, options.second)
    console.say(f"A: {found.names[0]} ({options.first})")
    console.say(f"B: {found.names[1]} ({options.second})")
    console.say(_table(found))
    console.say(f"{found.conclusion} ({found.label})")
    for note in found.notes:
        console.say(f"note: {note}")
    if output is not None:
        console.say(f"compare: {output.write(found, json.loads(found.to_json()))}")
    return 0


def _table(found: Comparison) -> str:
    rows = []
    *_, worst = found.accuracy
    for name, (first, second) in found.accuracy.items():
        after = "clean" if name == "clean" else f"after {name}"
        what = "robust" if name == worst else after
        difference = str(found.differences[name])
        rows.append(
            {"accuracy": what, "A %": first, "B %": second, "B - A": difference}
        )
    return console.table(rows)


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("compare", __doc__)
    add = parser.add_argument
    add("first", type=Path, metavar="A.json", help="a report of lightly-adv evaluate")
    add("second", type=Path, metavar="B.json", help="another one")
    add("--out", type=Path, help="JSON file to write")
    return parser
