"""`lightly-adv evaluate`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from lightly_adv.cli import console, fractions
from lightly_adv.cli.finetune import FinetuneCLI, load_weights
from lightly_adv.cli.run_folder import RunFolder, write_json
from lightly_adv.evaluation import (
    create_suite,
    evaluate_robustness,
    labels,
    list_suites,
)
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm

EXAMPLES = """\
The network and the data are those of the run that the checkpoint lies in; options of
the data change them.

examples:
  lightly-adv evaluate runs/finetune/checkpoints/best-robust.ckpt
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --norm L2 --eps 0.5
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --data.root OTHER_PICTURES
"""


def run(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint on test pictures; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    checkpoint: Path = options.checkpoint
    folder = RunFolder.of_checkpoint(checkpoint)
    cli = _restore(checkpoint, folder, others)
    threat_model = _changed(cli.threat_model, norm=options.norm, eps=options.eps)
    limit = {} if options.max_samples is None else {"max_samples": options.max_samples}
    suite = create_suite(options.suite, **limit)
    name = f"{checkpoint.stem}, {suite.name}, {labels.ball(threat_model)}"
    out: Path = options.out or folder.path / f"{_file_name(name)}.json"
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another file with --out.")
    cli.datamodule.setup("test")
    report = evaluate_robustness(
        cli.model,
        cli.datamodule.test_dataloader(),
        threat_model,
        suite=suite,
        device=cli.trainer.strategy.root_device,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    console.say(str(report))
    write_json(out, json.loads(report.to_json(name=checkpoint.stem)))
    console.say(f"evaluate: the report is in {out}")
    return 0


def _restore(checkpoint: Path, folder: RunFolder, others: Sequence[str]) -> FinetuneCLI:
    """Return network, weights and data of a run."""
    config = str(folder.path / "config.yaml")
    # What the backbone was loaded from may be gone, and is in the weights anyway.
    fixed = ["--config", "model: {checkpoint: null}", "--ckpt_path", str(checkpoint)]
    cli = FinetuneCLI(["--config", config, *others, "--out", str(folder.path), *fixed])
    load_weights(cli.model, checkpoint)
    return cli


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightly-adv evaluate",
        description="Measure clean and robust accuracy of a fine-tuned classifier.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="<run>/checkpoints/<name>.ckpt")
    add("--suite", default="pgd-20", help=f"one of {', '.join(list_suites())}")
    add("--norm", choices=get_args(Norm), help="default: that of the run")
    add("--eps", type=fractions.number, help="in pixels; default: that of the run")
    add("--max_samples", type=int, help="evaluate only the first that many pictures")
    add("--seed", type=int, default=0, help="seed of the noise of the attacks")
    add(
        "--out", type=Path, help="JSON file to write; default: in the folder of the run"
    )
    return parser


def _changed(threat_model: ThreatModel, **changes: Any) -> ThreatModel:
    given = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(threat_model, **given)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", f"evaluation {text}").strip("-")
