"""`lightly-adv transfer`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from lightly_adv.attacks import PGD
from lightly_adv.cli import attacked, console, evaluate, loaders
from lightly_adv.cli.finetune import FinetuneCLI, load_weights
from lightly_adv.cli.pretrain import PretrainCLI
from lightly_adv.cli.run_folder import RunFolder, write_json
from lightly_adv.cli.training import TrainingCLI
from lightly_adv.evaluation import TransferReport, figures, measure_transfer

EXAMPLES = """\
Images are perturbed for each model in turn and shown to all of them. The models are
the pretext tasks of pre-trained checkpoints, where an ensemble brings all of its tasks,
or the classifiers of fine-tuned ones. The data are those of the first run; options of
the data change them. The attack starts at the image, without noise, so that the
cosines between perturbations tell of the models alone.

examples:
  lightly-adv transfer runs/ensemble/checkpoints/last.ckpt --eps 8/255
  lightly-adv transfer runs/{rotation,jigsaw,selfie}/checkpoints/best-robust.ckpt
  lightly-adv transfer runs/{rotation,jigsaw}/checkpoints/last.ckpt --steps 50 \\
    --data ImageFolderDataModule --data.root OTHER_IMAGES --out runs/transfer
"""


def run(arguments: Sequence[str]) -> int:
    """Measure how perturbations transfer between models; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    out: Path = options.out
    attacked.check_once(options.checkpoints)
    runs = {path: restore(path, others) for path in options.checkpoints}
    models = _models(runs)
    threat_model = attacked.threat_model(
        runs.values(), norm=options.norm, eps=options.eps
    )
    if (out / "transfer.json").exists():
        raise FileExistsError(f"{out}/transfer.json exists; choose another --out.")
    cli = next(iter(runs.values()))
    loader, order = loaders.test_images(cli.datamodule)
    report = measure_transfer(
        models,
        loader,
        PGD(threat_model, steps=options.steps, random_start=False),
        max_samples=options.max_samples,
        device=cli.trainer.strategy.root_device,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    console.say(_text(report))
    paths = [str(path) for path in options.checkpoints]
    facts = {"order": order, "checkpoints": paths}
    write_json(out / "transfer.json", {**json.loads(report.to_json()), **facts})
    figures.save(report.figure(), out / "transfer.png")
    console.say(f"transfer: transfer.json and transfer.png are in {out}")
    return 0


def restore(checkpoint: Path, others: Sequence[str]) -> TrainingCLI:
    """Return network, weights and data of the run that a checkpoint lies in.

    Args:
        checkpoint: A checkpoint of pre-training or fine-tuning, in the folder of its
            run.
        others: Further options of that run, which change the data.

    Raises:
        FileNotFoundError: If it does not lie in the folder of a run.
        ValueError: If the files of the run are damaged.
    """
    folder = RunFolder.of_checkpoint(checkpoint)
    if folder.command() == "finetune":
        return attacked.restore(checkpoint, others)
    config, out = str(folder.path / "config.yaml"), str(folder.path)
    fixed = ["--out", out, "--ckpt_path", str(checkpoint)]
    cli = PretrainCLI(["--config", config, *others, *fixed])
    load_weights(cli.model, checkpoint)
    return cli


def _models(runs: Mapping[Path, TrainingCLI]) -> dict[str, nn.Module]:
    """Return what is compared, by names that tell where it comes from."""
    classifiers = {p: c for p, c in runs.items() if isinstance(c, FinetuneCLI)}
    if classifiers and len(classifiers) < len(runs):
        pretrained = next(path for path in runs if path not in classifiers)
        raise ValueError(
            f"{next(iter(classifiers))} is a classifier, {pretrained} is not; compare "
            "either fine-tuned or pre-trained checkpoints."
        )
    if classifiers:
        evaluate.check_members(classifiers)
    models: dict[str, nn.Module] = {}
    for (path, cli), name in zip(runs.items(), _names(list(runs)), strict=True):
        if path in classifiers:
            models[name] = cli.model
            continue
        tasks = getattr(cli.model, "tasks", None)
        if not isinstance(tasks, Mapping):
            raise ValueError(
                f"{path} is a {type(cli.model).__name__}; expected the checkpoint of a "
                "module with pretext tasks, or of a fine-tuned classifier."
            )
        prefix = "" if len(runs) == 1 else f"{name} "
        for task_name, task in tasks.items():
            models[name if len(tasks) == 1 else f"{prefix}{task_name}"] = task
    if len(models) < 2:
        raise ValueError(
            f"{next(iter(runs))} brings one model, {next(iter(models))!r}; expected at "
            "least two, between which perturbations can be transferred. Give another "
            "checkpoint, too: one is enough only for a pretext ensemble."
        )
    return models


def _names(paths: Sequence[Path]) -> list[str]:
    """Name checkpoints by the folders of their runs, as shortly as can be.

    Examples:
        >>> runs = [Path(f"runs/{name}/checkpoints/last.ckpt") for name in "ab"]
        >>> _names(runs)
        ['a', 'b']
    """
    folders = [path.resolve().parents[1] for path in paths]
    candidates = (
        [folder.name for folder in folders],
        [f"{f.name}/{p.stem}" for f, p in zip(folders, paths, strict=True)],
        [f"{folder.parent.name}/{folder.name}" for folder in folders],
    )
    for names in candidates:
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _text(report: TransferReport) -> str:
    """Return both matrices as tables."""
    accuracies = [report.clean_accuracy, *report.accuracy]
    cosines = [[f"{value:.2f}" for value in row] for row in report.cosine]
    return "\n".join(
        [
            f"accuracy in percent ({report.label})",
            _table("perturbed for", report.names, ["-", *report.names], accuracies),
            "cosine between perturbations",
            _table("made for", report.names, report.names, cosines),
        ]
    )


def _table(
    corner: str,
    columns: Sequence[str],
    names: Sequence[str],
    matrix: Sequence[Sequence[object]],
) -> str:
    headings = dict(enumerate([corner, *columns]))
    rows = [
        {str(key): value for key, value in enumerate([name, *values])}
        for name, values in zip(names, matrix, strict=True)
    ]
    return console.table(rows, {str(key): text for key, text in headings.items()})


def _parser() -> argparse.ArgumentParser:
    parser = attacked.parser(
        "transfer",
        "Measure how far perturbations made for one pretext task, or classifier, "
        "mislead the others.",
        EXAMPLES,
    )
    add = parser.add_argument
    attacked.add_checkpoints(
        parser, "<run>/checkpoints/<name>.ckpt of pretrain or finetune"
    )
    attacked.add_options(parser, seed="the questions of pretext tasks")
    add("--steps", type=int, default=20, help="steps of the attack, each of eps / 4")
    add(
        "--out",
        type=Path,
        default=Path("runs/transfer"),
        help="folder for transfer.json and transfer.png; default: runs/transfer",
    )
    return parser
