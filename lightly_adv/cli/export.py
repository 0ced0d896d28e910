"""`lightly-adv export`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lightly_adv import json_files
from lightly_adv.cli import console, loaders, networks
from lightly_adv.cli.evaluation import plain_parser
from lightly_adv.cli.networks import Network
from lightly_adv.evaluation import digests
from lightly_adv.models import Normalize
from lightly_adv.models.export import card, export_model, load_exported
from lightly_adv.types import NormalizeStats
from lightly_adv.versions import versions

EXAMPLES = """\
The folder gets model.safetensors, config.json and README.md, a card with the numbers
of the evaluations of this checkpoint, known by its SHA-256, that lie in the folder of
its run; the suite smoke is left out. timm loads it, and it can be uploaded to a model
hub as it is. A folder that holds something is never written to. Of a pre-trained
checkpoint, the backbone is exported.

examples:
  lightly-adv export runs/finetune/checkpoints/best-robust.ckpt --out exported
  lightly-adv export runs/finetune/checkpoints/last.ckpt --part backbone --out exported
  lightly-adv export runs/pretrain/checkpoints/last.ckpt --out exported
  lightly-adv export runs/finetune/checkpoints/last.ckpt --out exported \\
    --card runs/finetune/evaluation-last-apgd-Linf-8-255.json
"""

PARTS = ("classifier", "backbone")
NUMBERS = {"clean_accuracy", "robust_accuracy"}
"""What a report has to have in its row, to be told on the card."""


def run(arguments: Sequence[str]) -> int:
    """Write a checkpoint into a folder that timm loads; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    network = networks.restore(options.checkpoint, others)
    checkpoint = network.weights
    digest = digests.of_file(checkpoint)
    if options.card is None:
        reports = list(_reports_in(network.folder, checkpoint, digest))
    else:
        reports = [_report(path, checkpoint, digest) for path in options.card]
    backbone, head, normalize = _parts(network, options.part)
    path = export_model(
        backbone,
        options.out,
        head=head,
        normalize=normalize,
        image_size=_image_size(network),
        class_names=() if head is None else network.class_names or (),
        route=options.route,
        reports=reports,
        facts=_facts(network, f"{checkpoint.name}, SHA-256 {digest}"),
    )
    console.say(f"export: {load_exported(path).report}")
    told = "one evaluation" if len(reports) == 1 else f"{len(reports)} evaluations"
    console.say(f"export: {path} is written, its card tells of {told}")
    return 0


def _parts(
    network: Network, part: str | None
) -> tuple[nn.Module, nn.Module | None, NormalizeStats | None]:
    """Return backbone, head (if it is wanted) and what stands in front of both."""
    model: Any = network.module
    if network.num_classes is not None:
        head = None if part == "backbone" else model.head
        return model.backbone, head, _statistics(model.normalize)
    if part == "classifier":
        raise ValueError(
            f"a pre-trained {type(model).__name__} has no classifier; leave out --part "
            "to export its backbone."
        )
    if not all(hasattr(model, name) for name in ("backbone", "normalize")):
        raise ValueError(
            f"{type(model).__name__} has no backbone or no normalize; expected both, "
            "such as in lightly_adv.methods. Give it normalize=torch.nn.Identity() for "
            "plain pixels, or call lightly_adv.models.export.export_model in Python."
        )
    return model.backbone, None, _statistics(model.normalize)


def _statistics(layer: nn.Module) -> NormalizeStats | None:
    """Return mean and std of a layer as they were written, 0.485 and not 0.48500001."""
    if not isinstance(layer, Normalize):
        return None
    return {
        key: tuple(float(str(np.float32(v))) for v in values.flatten().tolist())
        for key, values in (("mean", layer.mean), ("std", layer.std))
    }


def _image_size(network: Network) -> int:
    known = getattr(network.data, "image_size", None)
    if isinstance(known, int):
        return known
    loader, _ = loaders.test_images(network.data)
    images = next(iter(loader))[0]
    return int(images.shape[-1])


def _facts(network: Network, checkpoint: str) -> dict[str, str]:
    """Return where the network comes from, without paths of this machine."""
    model: Any = network.module
    trained_with = model.hparams.get("trained_with")
    found = ", ".join(f"{name} {number}" for name, number in versions().items())
    return {
        "network": type(model).__name__,
        "trained with": trained_with or "clean images",
        "data": type(network.data).__name__,
        "checkpoint": checkpoint,
        "versions": found,
    }


def _reports_in(
    folder: Path, checkpoint: Path, digest: str
) -> Iterator[Mapping[str, Any]]:
    """Yield the reports in the folder of a run that are about a checkpoint alone."""
    for path in sorted(folder.glob("*.json")):
        try:
            content = _read(path)
        except ValueError as error:
            console.say(f"export: {path.name} is left out: {error}")
            continue
        row, about = _row(content), _checkpoints(content)
        if row is None or len(about) != 1:
            continue
        reason = _difference(content, checkpoint, digest)
        if reason is None and row.get("suite") == "smoke":
            reason = "numbers of the suite smoke are not for reports (--card takes it)"
        if reason is None:
            json_files.check(content, card.NEEDS, path=path, **card.TOLD)
            yield content
        elif Path(about[0]).name == checkpoint.name:
            console.say(f"export: {path.name} is left out: {reason}")


def _report(path: Path, checkpoint: Path, digest: str) -> Mapping[str, Any]:
    content = _read(path)
    # Reports that were written in Python do not say what they are about.
    if _checkpoints(content):
        reason = _difference(content, checkpoint, digest)
        if reason is not None:
            raise ValueError(
                f"{path} cannot stand on the card: {reason}; give a report of the "
                "checkpoint that is exported, as it is now."
            )
    json_files.check(content, card.NEEDS, path=path, **card.TOLD)
    return content


def _difference(
    content: Mapping[str, Any], checkpoint: Path, digest: str
) -> str | None:
    """Say what a report is about, if that is anything but the weights in a file."""
    about = _checkpoints(content)
    written = content.get("checkpoint_sha256")
    known = written if isinstance(written, dict) else {}
    if [known.get(each) for each in about] == [digest]:
        return None
    told = ", ".join(f"{each} (SHA-256 {_short(known.get(each))})" for each in about)
    return f"it is about {told}, {checkpoint} has the SHA-256 {_short(digest)}"


def _short(digest: str | None) -> str:
    return "not kept" if digest is None else f"{digest[:12]}..."


def _read(path: Path) -> Mapping[str, Any]:
    return json_files.read(path, {}, **card.TOLD)


def _row(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the row of a report, if there is one alone that can be told."""
    match content.get("rows"):
        case [dict() as row] if row.keys() >= NUMBERS:
            return row
    return None


def _checkpoints(content: Mapping[str, Any]) -> list[str]:
    found = content.get("checkpoints")
    return [str(each) for each in found] if isinstance(found, list) else []


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser(
        "export",
        "Write a trained network into a folder that timm loads, with a card that says "
        "how robust it is.",
        EXAMPLES,
    )
    add = parser.add_argument
    add(
        "checkpoint",
        type=Path,
        metavar="RUN",
        help="folder of a run, or <run>/checkpoints/<name>.ckpt in it",
    )
    add("--out", type=Path, required=True, help="the folder; new, or empty")
    add("--part", choices=PARTS, help="default: all that there is")
    add(
        "--card",
        type=Path,
        nargs="+",
        metavar="REPORT",
        help="JSON of evaluations for the card; default: those of this checkpoint in "
        "the folder of its run",
    )
    add("--route", help="for BatchNorm layers with several routes: the one to export")
    return parser
