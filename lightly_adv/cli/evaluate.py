"""`lightly-adv evaluate`."""

from __future__ import annotations

import argparse
import glob
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lightly_adv.cli import attacked, console, loaders
from lightly_adv.cli.finetune import FinetuneCLI
from lightly_adv.evaluation import (
    Suite,
    card,
    create_suite,
    evaluate_robustness,
    formatting,
    list_suites,
    make_card,
    suites,
)
from lightly_adv.models import Ensemble

EXAMPLES = """\
The network and the data are those of the run that the checkpoint lies in; options of
the data change them. Several checkpoints are attacked as one ensemble, which answers
with the mean of their probabilities, on the data of the first one. Test images are
taken class by class in turn, so that --max_samples gives images of all classes. After
a kill the same command goes on where it was. With --surrogate, one of the checks is
whether perturbations made for that classifier mislead this one.

examples:
  lightly-adv evaluate runs/finetune/checkpoints/best-robust.ckpt
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --norm L2 --eps 0.5
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --suite apgd --restarts 3
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --data.root OTHER_IMAGES
  lightly-adv evaluate runs/{rotation,jigsaw,selfie}/checkpoints/best-robust.ckpt
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt \\
    --surrogate runs/standard/checkpoints/last.ckpt
"""

CURVE_SAMPLES = 128
"""On how many images the curves are measured, if nothing else is asked for."""


def run(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint, or an ensemble, on test images; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    attacked.check_once(options.checkpoints)
    members = {path: attacked.restore(path, others) for path in options.checkpoints}
    check_members(members)
    threat_model = attacked.threat_model(
        members.values(), norm=options.norm, eps=options.eps
    )
    suite = _suite(
        options.suite, max_samples=options.max_samples, restarts=options.restarts
    )
    surrogate = _surrogate(options.surrogate, others, members=members, suite=suite)
    facts = _facts(members, options.surrogate)
    first, cli = next(iter(members.items()))
    who = first.stem if len(members) == 1 else f"ensemble of {len(members)}"
    name = f"{who}, {suite.name}, {formatting.ball(threat_model)}"
    out = _base(options.out or cli.folder.path / _file_name(name))
    state = _state_beside(out)
    loader, order = loaders.test_images(cli.datamodule)
    model, device = _model(members.values()), cli.trainer.strategy.root_device
    progress = sys.stderr.isatty()
    report = evaluate_robustness(
        model,
        loader,
        threat_model,
        suite=suite,
        device=device,
        seed=options.seed,
        progress=progress,
        state=state,
        surrogate=surrogate,
    )
    console.say(str(report))
    found = make_card(
        model,
        loader,
        report,
        suite=suite,
        name=who,
        class_names=getattr(cli.datamodule, "classes", None),
        curve_samples=_curve_samples(options),
        device=device,
        progress=progress,
        state=f"{state}.curve",
        facts={"order": order, **facts},
    )
    html, _, content = found.write(out)
    for each in state.parent.glob(f"{glob.escape(state.name)}*"):
        each.unlink()
    console.say(f"evaluate: the report is in {content}, to be read in {html}")
    return 0


def _base(out: Path) -> Path:
    """Return where the files of the card go, without their endings."""
    return out.with_name(out.name.removesuffix(".json"))


def _state_beside(out: Path) -> Path:
    """Return the file that the evaluation is kept in until the card is written."""
    state = out.with_name(f"{out.name}.json.state")
    *others, content = card.paths(out)
    # With the state there, the others are left from before a kill.
    for path in [content, *([] if state.exists() else others)]:
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another file with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    if state.exists():
        console.say(f"evaluate: going on from {state}")
    return state


def _curve_samples(options: argparse.Namespace) -> int:
    if options.curve_samples is not None:
        return int(options.curve_samples)
    return 0 if options.suite == "smoke" else CURVE_SAMPLES


def _facts(members: Iterable[Path], surrogate: Path | None) -> dict[str, Any]:
    paths = list(members)
    facts: dict[str, Any] = {
        "checkpoints": [str(path) for path in paths],
        "checkpoint_sha256": attacked.sha256_of(paths),
    }
    if surrogate is not None:
        facts["surrogate_sha256"] = attacked.sha256_of([surrogate])
    return facts


def _surrogate(
    path: Path | None,
    others: Sequence[str],
    *,
    members: Mapping[Path, FinetuneCLI],
    suite: Suite,
) -> nn.Module | None:
    """Return the classifier that a check attacks in place of the members, if any."""
    if path is None:
        return None
    if path.resolve() in {each.resolve() for each in members}:
        raise ValueError(
            f"--surrogate {path} is what is evaluated; give another classifier, best "
            "one that was trained on clean images."
        )
    if not suite.checks:
        raise ValueError(
            f"the suite {suite.name!r} has no checks, and --surrogate is for one of "
            "them; choose another --suite, or leave it out."
        )
    cli = attacked.restore(path, others)
    check_members({**members, path: cli})
    model: nn.Module = cli.model
    return model


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


def check_members(members: Mapping[Path, FinetuneCLI]) -> None:
    """Refuse classifiers that answer different questions."""
    counts = {path: cli.model.num_classes for path, cli in members.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{path} {count}" for path, count in counts.items())
        raise ValueError(
            f"the checkpoints have different numbers of classes ({found}); expected "
            "classifiers of the same classes."
        )
    names = {
        path: getattr(c.datamodule, "classes", None) for path, c in members.items()
    }
    (first, expected), *rest = names.items()
    for path, classes in rest:
        if expected and classes and classes != expected:
            raise ValueError(
                f"{first} was trained on the classes {expected}, {path} on {classes}; "
                "expected classifiers of the same classes."
            )


def _model(members: Iterable[FinetuneCLI]) -> nn.Module:
    models: list[nn.Module] = [cli.model for cli in members]
    return models[0] if len(models) == 1 else Ensemble(models)


def _parser() -> argparse.ArgumentParser:
    parser = attacked.parser(
        "evaluate",
        "Measure clean and robust accuracy of a fine-tuned classifier, or of an "
        "ensemble of several.",
        EXAMPLES,
    )
    add = parser.add_argument
    attacked.add_checkpoints(
        parser, "<run>/checkpoints/<name>.ckpt; several make an ensemble"
    )
    attacked.add_options(parser, seed="the noise of the attacks")
    add("--suite", default="pgd-20", help=f"one of {', '.join(list_suites())}")
    add("--restarts", type=int, help="how often to run each attack; default: 1")
    add(
        "--surrogate",
        type=Path,
        metavar="CHECKPOINT",
        help="another classifier of the same classes, best one trained on clean "
        "images, for the check named transfer; default: none, which skips it",
    )
    add(
        "--curve_samples",
        type=int,
        help="on how many images to measure curves over eps and steps; 0 leaves them "
        f"out; default: {CURVE_SAMPLES}, with the suite smoke 0",
    )
    add(
        "--out",
        type=Path,
        help="JSON file to write, with .html and .md beside it; default: in the folder "
        "of the run",
    )
    return parser


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", f"evaluation {text}").strip("-")
