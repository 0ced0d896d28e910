"""`lightly-adv evaluate`."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from lightly_adv.cli import console, fractions
from lightly_adv.cli.finetune import FinetuneCLI, load_weights
from lightly_adv.cli.run_folder import RunFolder, write_json
from lightly_adv.evaluation import (
    Suite,
    create_suite,
    evaluate_robustness,
    labels,
    list_suites,
    suites,
)
from lightly_adv.finetuning import RobustClassifier
from lightly_adv.models import Ensemble
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm

EXAMPLES = """\
The network and the data are those of the run that the checkpoint lies in; options of
the data change them. Several checkpoints are attacked as one ensemble, which answers
with the mean of their probabilities, on the data of the first one. After a kill the
same command goes on where it was.

examples:
  lightly-adv evaluate runs/finetune/checkpoints/best-robust.ckpt
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --norm L2 --eps 0.5
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --suite apgd --restarts 3
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --data.root OTHER_PICTURES
  lightly-adv evaluate runs/{rotation,jigsaw,selfie}/checkpoints/best-robust.ckpt
"""


def run(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint, or an ensemble, on test pictures; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    check_once(options.members)
    members = {path: restore(path, others) for path in options.members}
    check_members(members)
    threat_model = _threat_model(members.values(), norm=options.norm, eps=options.eps)
    suite = _suite(
        options.suite, max_samples=options.max_samples, restarts=options.restarts
    )
    first, cli = next(iter(members.items()))
    who = first.stem if len(members) == 1 else f"ensemble of {len(members)}"
    name = f"{who}, {suite.name}, {labels.ball(threat_model)}"
    out: Path = options.out or cli.folder.path / f"{_file_name(name)}.json"
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another file with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    state = out.with_name(f"{out.name}.state")
    if state.exists():
        console.say(f"evaluate: going on from {state}")
    cli.datamodule.setup("test")
    report = evaluate_robustness(
        _model(members.values()),
        cli.datamodule.test_dataloader(),
        threat_model,
        suite=suite,
        device=cli.trainer.strategy.root_device,
        seed=options.seed,
        progress=sys.stderr.isatty(),
        state=state,
    )
    console.say(str(report))
    content = json.loads(report.to_json(name=who))
    write_json(out, {**content, "checkpoints": [str(path) for path in members]})
    state.unlink()
    console.say(f"evaluate: the report is in {out}")
    return 0


def _suite(name: str, **options: int | None) -> Suite:
    """Create a suite with the options that are given."""
    given = {key: value for key, value in options.items() if value is not None}
    known = inspect.signature(suites.registry.load(name)).parameters
    for option in given.keys() - known:
        raise ValueError(
            f"the suite {name!r} has no --{option}; expected one of "
            f"{', '.join(f'--{each}' for each in options if each in known)}."
        )
    return create_suite(name, **given)


def restore(checkpoint: Path, others: Sequence[str]) -> FinetuneCLI:
    """Return network, weights and data of the run that a checkpoint lies in."""
    folder = RunFolder.of_checkpoint(checkpoint)
    config = str(folder.path / "config.yaml")
    # What the backbone was loaded from may be gone, and is in the weights anyway.
    fixed = ["--config", "model: {checkpoint: null}", "--ckpt_path", str(checkpoint)]
    cli = FinetuneCLI(["--config", config, *others, "--out", str(folder.path), *fixed])
    _check_classes(cli.model, checkpoint)
    load_weights(cli.model, checkpoint)
    return cli


def _check_classes(model: RobustClassifier, checkpoint: Path) -> None:
    """Refuse weights for other classes than the data have."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    trained = len(content["state_dict"]["head.bias"])
    if trained != model.num_classes:
        raise ValueError(
            f"{checkpoint} tells {trained} classes apart, but the data have "
            f"{model.num_classes}; evaluate it on pictures of the classes that it was "
            "trained on."
        )


def check_once(paths: Sequence[Path]) -> None:
    """Refuse a list of checkpoints that names one of them twice."""
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given twice; each member counts once.")


def check_members(members: Mapping[Path, FinetuneCLI]) -> None:
    """Refuse members of an ensemble that answer different questions."""
    counts = {path: cli.model.num_classes for path, cli in members.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{path} {count}" for path, count in counts.items())
        raise ValueError(
            f"the checkpoints have different numbers of classes ({found}); an ensemble "
            "needs classifiers of the same classes."
        )
    names = {
        path: getattr(c.datamodule, "classes", None) for path, c in members.items()
    }
    (first, expected), *rest = names.items()
    for path, classes in rest:
        if expected and classes and classes != expected:
            raise ValueError(
                f"{first} was trained on the classes {expected}, {path} on {classes}; "
                "an ensemble needs classifiers of the same classes."
            )


def _threat_model(members: Iterable[FinetuneCLI], **changes: Any) -> ThreatModel:
    """Return what the attacks may do: that of the runs, with some of it changed."""
    given = {key: value for key, value in changes.items() if value is not None}
    found = [dataclasses.replace(cli.threat_model, **given) for cli in members]
    if any(each != found[0] for each in found):
        balls = ", ".join(labels.ball(each) for each in found)
        raise ValueError(
            f"the runs of the checkpoints have different threat models ({balls}); say "
            "which one to evaluate under with --norm and --eps."
        )
    return found[0]


def _model(members: Iterable[FinetuneCLI]) -> nn.Module:
    models: list[nn.Module] = [cli.model for cli in members]
    return models[0] if len(models) == 1 else Ensemble(models)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightly-adv evaluate",
        description="Measure clean and robust accuracy of a fine-tuned classifier, or "
        "of an ensemble of several.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "members",
        type=Path,
        nargs="+",
        metavar="checkpoint",
        help="<run>/checkpoints/<name>.ckpt; several make an ensemble",
    )
    add("--suite", default="pgd-20", help=f"one of {', '.join(list_suites())}")
    add("--norm", choices=get_args(Norm), help="default: that of the run")
    add("--eps", type=fractions.number, help="in pixels; default: that of the run")
    add("--max_samples", type=int, help="evaluate only the first that many pictures")
    add("--restarts", type=int, help="how often to run each attack; default: 1")
    add("--seed", type=int, default=0, help="seed of the noise of the attacks")
    add(
        "--out", type=Path, help="JSON file to write; default: in the folder of the run"
    )
    return parser


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", f"evaluation {text}").strip("-")
