r"""Write a trained network into a folder that timm loads, with a card.

The folder gets model.safetensors, config.json and README.md, a card with the numbers
of the evaluations of this checkpoint, known by its SHA-256, that lie in the folder of
its run; the suite smoke is left out. timm loads it, and it can be uploaded to a model
hub as it is. Only a new or empty folder is written to. Of a pre-trained checkpoint,
the backbone is exported.

Examples:
  lightly-adv export runs/finetune/checkpoints/best-robust.ckpt --out exported
  lightly-adv export runs/finetune/checkpoints/last.ckpt --part backbone --out exported
  lightly-adv export runs/pretrain/checkpoints/last.ckpt --out exported
  lightly-adv export runs/finetune/checkpoints/last.ckpt --out exported \
    --card runs/finetune/evaluation-last-apgd-Linf-8-255.json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lightly_adv import json_files
from lightly_adv.cli import console, loaders, networks
from lightly_adv.cli.evaluation import plain_parser
from lightly_adv.cli.networks import Network
from lightly_adv.evaluation import digests
from lightly_adv.models.export import card, export_model, load_exported
from lightly_adv.versions import versions

PARTS = ("classifier", "backbone")
NUMBERS = {"clean_accuracy", "robust_accuracy"}
"""Columns that a report needs to be listed on the card."""


def run(arguments: Sequence[str]) -> int:
    """Write a checkpoint into a folder that timm loads; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    network = networks.restore(options.checkpoint, others)
    evaluated = Evaluated(network.weights)
    if options.card is None:
        reports = list(evaluated.reports_in(network.folder))
    else:
        reports = [evaluated.report(path) for path in options.card]
    backbone, normalize, head = _parts(network, options.part)
    path = export_model(
        backbone,
        options.out,
        head=head,
        normalize=getattr(normalize, "stats", None),
        image_size=_image_size(network),
        class_names=() if head is None else network.class_names or (),
        route=options.route,
        reports=reports,
        facts=_facts(network, evaluated),
    )
    console.say(f"export: {load_exported(path).report}")
    count = "one evaluation" if len(reports) == 1 else f"{len(reports)} evaluations"
    console.say(f"export: {path} is written, its card lists {count}")
    return 0


def _parts(
    network: Network, part: str | None
) -> tuple[nn.Module, nn.Module, nn.Module | None]:
    """Return backbone, what stands in front of it, and the head if it is wanted."""
    model = network.module
    names = ("backbone", "normalize", "head")
    backbone, normalize, head = (getattr(model, name, None) for name in names)
    if network.num_classes is None and part == "classifier":
        raise ValueError(
            f"a pre-trained {type(model).__name__} has no classifier; leave out --part "
            "to export its backbone."
        )
    if not isinstance(backbone, nn.Module) or not isinstance(normalize, nn.Module):
        raise ValueError(
            f"{type(model).__name__} has no backbone or no normalize; expected both, "
            "such as in lightly_adv.methods. Give it normalize=torch.nn.Identity() for "
            "plain pixels, or call lightly_adv.models.export.export_model in Python."
        )
    is_classifier = network.num_classes is not None and part != "backbone"
    return backbone, normalize, head if is_classifier else None


def _image_size(network: Network) -> int:
    known = getattr(network.data, "image_size", None)
    if isinstance(known, int):
        return known
    loader, _ = loaders.test_images(network.data)
    return int(next(iter(loader))[0].shape[-1])


def _facts(network: Network, evaluated: Evaluated) -> dict[str, str]:
    """Return where the network comes from, without paths of this machine."""
    model: Any = network.module
    return {
        "network": type(model).__name__,
        "trained with": model.hparams.get("trained_with") or "clean images",
        "data": type(network.data).__name__,
        "checkpoint": f"{evaluated.checkpoint.name}, SHA-256 {evaluated.digest}",
        "versions": ", ".join(
            f"{name} {number}" for name, number in versions().items()
        ),
    }


class Evaluated:
    """A checkpoint, and which reports are about it.

    Args:
        checkpoint: The file.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.digest = digests.of_file(checkpoint)

    def reports_in(self, folder: Path) -> Iterator[Mapping[str, Any]]:
        """Yield the reports in a folder that are about the checkpoint alone."""
        for path in sorted(folder.glob("*.json")):
            try:
                content = json_files.read(path, {}, **card.MESSAGE)
            except ValueError as error:
                console.say(f"export: {path.name} is left out: {error}")
                continue
            match content:
                case {"rows": [dict() as row], "checkpoints": [about]} if (
                    row.keys() >= NUMBERS
                ):
                    reason = self._difference(content)
                case _:
                    continue
            if reason is None and row.get("suite") == "smoke":
                reason = "numbers of the suite smoke are not for reports (--card does)"
            if reason is None:
                json_files.check(content, card.NEEDS, path=path, **card.MESSAGE)
                yield content
            elif Path(str(about)).name == self.checkpoint.name:
                console.say(f"export: {path.name} is left out: {reason}")

    def report(self, path: Path) -> Mapping[str, Any]:
        """Return a report that was asked for.

        Raises:
            ValueError: If it is damaged, or about other weights.
        """
        content = json_files.read(path, {}, **card.MESSAGE)
        # Reports that were written in Python do not say what they are about.
        reason = self._difference(content)
        if reason is not None:
            raise ValueError(
                f"{path} does not belong on the card: {reason}; give a report of the "
                "checkpoint that is exported, as it is now."
            )
        json_files.check(content, card.NEEDS, path=path, **card.MESSAGE)
        return content

    def _difference(self, content: Mapping[str, Any]) -> str | None:
        """Say what a report is about, if that is anything but the checkpoint."""
        about, written = content.get("checkpoints"), content.get("checkpoint_sha256")
        if not isinstance(about, list) or not about:
            return None
        known = written if isinstance(written, dict) else {}
        found = {str(each): known.get(str(each)) for each in about}
        if list(found.values()) == [self.digest]:
            return None
        names = ", ".join(f"{k} (SHA-256 {_short(v)})" for k, v in found.items())
        return f"it is about {names}, {self.checkpoint} has {_short(self.digest)}"


def _short(digest: str | None) -> str:
    return "not kept" if digest is None else f"{digest[:12]}..."


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("export", __doc__)
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
