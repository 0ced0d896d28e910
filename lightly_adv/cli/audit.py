"""Name what cannot be in a table of accuracies.

Reads CSV, Markdown or the JSON of results, finds columns and rows that name attacks or
eps, and names what cannot be: accuracy that rises with eps, a stronger attack above a
weaker one, equal values at different eps, flat curves, robust above clean. The exit
code is 1 if there is such a finding, else 0. What is not stated is listed, too.

Examples:
  lightly-adv audit table.csv
  lightly-adv audit paper.md --out audit.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from lightly_adv.audit import audit
from lightly_adv.cli import console
from lightly_adv.cli.evaluation import Output, plain_parser


def run(arguments: Sequence[str]) -> int:
    """Audit a table; return the exit code."""
    options = _parser().parse_args(arguments)
    output = None if options.out is None else Output(options.out, "audit").claim()
    found = audit(options.table)
    console.say(found.label)
    for finding in found.findings:
        console.say(f"{finding.status} {finding.warning}")
    if not found.findings:
        console.say("nothing in it is impossible.")
    if found.not_stated:
        console.say(f"not stated: {'; '.join(found.not_stated)}.")
    if output is not None:
        console.say(f"audit: {output.write(found, json.loads(found.to_json()))}")
    return int(bool(found.findings))


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("audit", __doc__)
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help="CSV, Markdown or JSON")
    add("--out", type=Path, help="JSON file to write")
    return parser
