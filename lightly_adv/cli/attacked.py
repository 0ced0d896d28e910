"""What the commands that attack trained networks share.

They take checkpoints, find network and data in the run that each lies in, and have the
same options for what the attacks may do and on which images.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from lightly_adv.cli import checkpoints, fractions
from lightly_adv.cli.finetune import FinetuneCLI, load_weights
from lightly_adv.cli.run_folder import RunFolder
from lightly_adv.cli.training import TrainingCLI
from lightly_adv.evaluation import digests, formatting
from lightly_adv.methods import RobustClassifier
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm

USUAL_EPS: dict[Norm, str] = {"Linf": "8/255", "L2": "0.5", "L1": "12"}
"""What most papers attack CIFAR-10 with."""


def parser(command: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return an empty parser in the style of these commands."""
    return argparse.ArgumentParser(
        prog=f"lightly-adv {command}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_checkpoints(parser: argparse.ArgumentParser, about: str) -> None:
    """Add the checkpoints, at least one."""
    parser.add_argument(
        "checkpoints", type=Path, nargs="+", metavar="checkpoint", help=about
    )


def add_options(parser: argparse.ArgumentParser, *, seed: str) -> None:
    """Add the options for threat model, images and seed.

    Args:
        parser: Where to add them.
        seed: What the seed is the seed of.
    """
    add = parser.add_argument
    add(
        "--norm",
        choices=get_args(Norm),
        help="default: that of the run; another one takes --eps, too",
    )
    add("--eps", type=fractions.number, help="in pixels; default: that of the run")
    add(
        "--max_samples",
        type=int,
        help="use only that many test images, of all classes alike; default: all",
    )
    add("--seed", type=int, default=0, help=f"seed of {seed}")


def check_once(paths: Sequence[Path]) -> None:
    """Refuse a list of checkpoints that names one of them twice."""
    files = [path.resolve() for path in paths]
    twice = [path for path, f in zip(paths, files, strict=True) if files.count(f) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given twice; each member counts once.")


def sha256_of(checkpoints: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each checkpoint by its path, for reports."""
    return {str(path): digests.of_file(path) for path in checkpoints}


def facts(checkpoint: Path) -> dict[str, Any]:
    """Return what the report on one checkpoint says that it is about."""
    return {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": sha256_of([checkpoint]),
    }


def restore(checkpoint: Path, others: Sequence[str]) -> FinetuneCLI:
    """Return network, weights and data of the run that a checkpoint lies in.

    Args:
        checkpoint: A checkpoint of a fine-tuned classifier, in the folder of its run.
        others: Further options of that run, which change the data.

    Raises:
        FileNotFoundError: If it does not lie in the folder of a run.
        ValueError: If it was trained on another number of classes than the data have.
    """
    folder = RunFolder.of_checkpoint(checkpoint)
    config = str(folder.path / "config.yaml")
    # What the backbone was loaded from may be gone, and is in the weights anyway.
    fixed = ["--config", "model: {checkpoint: null}", "--ckpt_path", str(checkpoint)]
    cli = FinetuneCLI(["--config", config, *others, "--out", str(folder.path), *fixed])
    _check_classes(cli.model, checkpoint)
    load_weights(cli.model, checkpoint)
    return cli


def threat_model(
    runs: Iterable[TrainingCLI], *, norm: Norm | None, eps: float | None
) -> ThreatModel:
    """Return what the attacks may do: what those of the runs may, or what is asked.

    Args:
        runs: The runs of the checkpoints.
        norm: The norm; None stands for that of the runs.
        eps: The radius in pixels; None stands for that of the runs.

    Raises:
        ValueError: If the runs differ in what is not asked for, or if the norm is
            another than that of a run and there is no radius for it.
    """
    found = [_asked(_own_threat_model(cli), norm=norm, eps=eps) for cli in runs]
    if any(each != found[0] for each in found):
        balls = ", ".join(formatting.ball(each) for each in found)
        raise ValueError(
            f"the runs of the checkpoints have different threat models ({balls}); say "
            "which one to use with --norm and --eps."
        )
    return found[0]


def _asked(own: ThreatModel, *, norm: Norm | None, eps: float | None) -> ThreatModel:
    if norm is not None and norm != own.norm and eps is None:
        raise ValueError(
            f"--norm {norm} is not that of the run, {formatting.ball(own)}, whose eps "
            f"is another distance in {norm}; give --eps, too, such as "
            f"{USUAL_EPS[norm]}, "
            f"which is usual in {norm} for images of 32 x 32."
        )
    radius = own.eps if eps is None else eps
    return dataclasses.replace(own, norm=norm or own.norm, eps=radius)


def _own_threat_model(cli: TrainingCLI) -> ThreatModel:
    if isinstance(cli, FinetuneCLI):
        return cli.threat_model
    attack = getattr(cli.model, "attack", None)  # a module of one's own may have none
    own: ThreatModel = attack.threat_model if attack else ThreatModel()
    return own


def _check_classes(model: RobustClassifier, checkpoint: Path) -> None:
    """Refuse weights for other classes than the data have."""
    content = checkpoints.read(checkpoint, mmap=True)
    bias = content["state_dict"].get("head.bias")
    # Without one, it is refused key by key when it is loaded.
    if bias is not None and len(bias) != model.num_classes:
        raise ValueError(
            f"{checkpoint} tells {len(bias)} classes apart, but the data have "
            f"{model.num_classes}; evaluate it on images of the classes that it was "
            "trained on."
        )
