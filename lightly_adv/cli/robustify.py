r"""Make a ready encoder robust, from images without labels.

The encoder learns to give attacked images the features that it gave clean ones.
--out gets checkpoints/ and, at the end, exported/, which timm.create_model and the
other commands take under the keys that the encoder had before; with --measure also
before-after.json, .md and .png, on some of the images at eps 1, 2, 4 and 8 /255. The
same command again goes on after Ctrl-C or a kill.

Examples:
  lightly-adv robustify --backbone vit_small_patch14_dinov2.lvd142m --data images \
    --image_size 224 --eps 4/255 --keep 0.05 --steps 20000
  lightly-adv robustify --backbone tf_efficientnet_lite0 --weights FILE \
    --data images --image_size 64 --eps 2/255 --steps 300 --fast
  lightly-adv robustify exported --data images --lora 8
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from lightly_adv import files, json_files
from lightly_adv.attacks import PGD
from lightly_adv.callbacks.progress_lines import ProgressLines
from lightly_adv.cli import checkpoints, console, encoders, fractions, step_cost
from lightly_adv.cli.encoders import ReadyEncoder
from lightly_adv.cli.evaluation import plain_parser
from lightly_adv.cli.run_folder import RunFolder, write_json
from lightly_adv.data.image_dataset import identity
from lightly_adv.data.image_files import ImageFiles
from lightly_adv.data.training_loader import TrainingLoader, TrainingSampler
from lightly_adv.evaluation import figures, formatting
from lightly_adv.evaluation.encoders import before_and_after
from lightly_adv.functional.feature_distances import DISTANCES
from lightly_adv.lightning import loggers, pl
from lightly_adv.methods import CleanConstraint, RobustDistillation
from lightly_adv.models import trained_parts
from lightly_adv.models.export import export_model
from lightly_adv.models.tokens import Tokens
from lightly_adv.threat_model import ThreatModel
from lightly_adv.training.optimizers import WarmupCosineAdamW
from lightly_adv.types import Norm
from lightly_adv.versions import versions

SETTINGS = "settings.json"
"""What the run was begun with."""

SHOWN = {"attacked_distance": "attacked", "clean_distance": "clean"}
"""What the progress line tells."""


def run(arguments: Sequence[str]) -> int:
    """Make an encoder robust; return the exit code."""
    options = _parser().parse_args(arguments)
    folder = RunFolder(options.out)
    exported = folder.path / "exported"
    if exported.exists():
        raise FileExistsError(
            f"{exported} is there already, so this run has ended; choose another --out."
        )
    pl.seed_everything(options.seed, verbose=False)
    encoder = encoders.collect(
        options.encoder, options.backbone, options.weights, options.image_size
    )
    images = ImageFiles(options.data, encoder.image_size)
    module = _module(encoder, options)
    settings = {**_settings(options), "teacher": module.teacher_digest}
    checkpoint = _resumed(folder, settings)
    batch_size = min(options.batch_size, len(images))
    loader = TrainingLoader(
        images,
        sampler=TrainingSampler(len(images)),
        batch_size=batch_size,
        num_workers=options.workers,
        collate_fn=identity,
        drop_last=True,
        persistent_workers=options.workers > 0,
    )
    trainer = _trainer(folder, options)
    _describe(encoder, module, images, options)
    _estimate(module, images, batch_size, trainer, options.steps)
    if options.dry_run:
        return 0
    folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder.path / SETTINGS, settings)
    folder.write_run(["lightly-adv", "robustify", *arguments], status="running")
    if checkpoint is not None:
        console.say(f"robustify: going on from {checkpoint}")
    if not _fit(trainer, module, loader, checkpoint):
        console.say("stopped; the same command again goes on.")
        return 130
    folder.write_run(["lightly-adv", "robustify", *arguments], status="finished")
    export_model(
        module.robust_backbone(),
        exported,
        normalize=encoder.normalize,
        image_size=encoder.image_size,
        facts=_facts(encoder, module, options, len(images)),
    )
    console.say(f"robustify: {exported} is written; timm loads it under the same keys")
    if options.measure:
        _measure(module, images, options, folder.path)
    return 0


def _module(encoder: ReadyEncoder, options: argparse.Namespace) -> RobustDistillation:
    threat_model = ThreatModel(norm=options.norm, eps=options.eps)
    steps, share = (3, 2) if options.fast else (10, 4)
    attack = PGD(threat_model, steps=steps, step_size=options.eps / share)
    fidelity = None if options.keep is None else CleanConstraint(options.keep)
    trainable = f"lora:{options.lora}" if options.lora else options.trainable
    return RobustDistillation(
        encoder.backbone,
        attack,
        distance=options.distance,
        tokens=options.tokens,
        fidelity=fidelity,
        trainable=trainable,
        normalize=encoder.normalize,
        gradient_checkpointing=options.gradient_checkpointing,
        channels_last=not hasattr(encoder.backbone, "patch_embed"),
        image_scale=_smaller_first(encoder) if options.fast else 1.0,
        optimizer=WarmupCosineAdamW(options.lr, 1e-4, warmup=0.07),
    )


def _smaller_first(encoder: ReadyEncoder) -> Callable[[float], float]:
    """Return the scale of images: about two thirds for the first half of training."""
    size = encoder.image_size
    patch = encoders.patch_size(encoder.backbone) or 1
    small = max(patch, round(size * 2 / 3 / patch) * patch) / size
    return lambda progress: small if progress < 0.5 else 1.0


def _trainer(folder: RunFolder, options: argparse.Namespace) -> pl.Trainer:
    return pl.Trainer(
        max_steps=options.steps,
        max_epochs=-1,
        accelerator=options.accelerator,
        devices=1,
        precision=options.precision,
        log_every_n_steps=10,
        logger=loggers.CSVLogger(folder.path, name="logs"),
        callbacks=[
            ProgressLines("robustify", SHOWN),
            *checkpoints.callbacks(folder.checkpoints),
        ],
        plugins=[checkpoints.WholeFiles(checkpoints.LAST)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _fit(
    trainer: pl.Trainer,
    module: RobustDistillation,
    loader: TrainingLoader,
    checkpoint: Path | None,
) -> bool:
    """Train; return whether to the end."""
    try:
        trainer.fit(
            module, loader, ckpt_path=None if checkpoint is None else str(checkpoint)
        )
    except SystemExit:  # how newer Lightnings end after Ctrl-C
        if not trainer.interrupted:
            raise
    return not trainer.interrupted


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a run that goes on has to have in common with the one before."""
    other = {"out", "workers", "accelerator", "dry_run", "measure"}
    chosen = {name: v for name, v in vars(options).items() if name not in other}
    found: dict[str, Any] = json.loads(json.dumps(chosen, default=str))
    return found


def _resumed(folder: RunFolder, settings: dict[str, Any]) -> Path | None:
    """Return the checkpoint to go on from, if this run has been begun.

    Raises:
        ValueError: If it was begun with other settings.
        FileExistsError: If the folder holds something else.
    """
    path = folder.path / SETTINGS
    if not path.is_file():
        folder.check(None)
        return None
    before = json_files.read(
        path, {}, what="the settings of a run", remedy="Choose another --out."
    )
    for name, value in settings.items():
        if before.get(name) != value:
            raise ValueError(
                f"the run in {folder.path} was begun with {name}={before.get(name)!r}, "
                f"now it is {value!r}; give the same options to go on, or choose "
                "another --out."
            )
    return folder.last_checkpoint if folder.last_checkpoint.is_file() else None


def _describe(
    encoder: ReadyEncoder,
    module: RobustDistillation,
    images: ImageFiles,
    options: argparse.Namespace,
) -> None:
    """Say what is about to be done."""
    parameters = list(module.backbone.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    total = sum(p.numel() for p in module.teacher.parameters())
    norms = sum(map(trained_parts.keeps_statistics, module.backbone.modules()))
    stats = encoder.normalize
    normalized = "not normalised"
    if stats is not None:
        normalized = f"mean {_short(stats['mean'])}, std {_short(stats['std'])}"
    size = encoder.image_size
    attack = module.attack
    assert isinstance(attack, PGD)
    keep = "nothing holds clean features"
    if options.keep is not None:
        keep = f"clean features may move by {100 * options.keep:g} % of their square"
    console.say(
        f"robustify: {encoder.name}, {total / 1e6:.3g} M parameters, of which "
        f"{trained / 1e6:.3g} M train\n"
        f"robustify: {len(images)} images, {size} x {size}, "
        f"{normalized}\n"
        f"robustify: {_batch_norms(norms)}\n"
        f"robustify: {formatting.ball(attack.threat_model)}, {attack.steps} steps of "
        f"{attack.resolved_step_size * 255:.3g}/255; {keep}"
    )


def _estimate(
    module: RobustDistillation,
    images: ImageFiles,
    batch_size: int,
    trainer: pl.Trainer,
    steps: int,
) -> None:
    """Say what the run will take."""
    batch = images.__getitems__(range(batch_size))
    cost = step_cost.measure(module, batch, device=trainer.strategy.root_device)
    console.say(
        f"robustify: {cost.seconds:.3g} s per step, memory at most "
        f"{cost.gigabytes:.2g} GB ({step_cost.STEPS} steps of {batch_size} images were "
        f"timed); {steps} steps take {formatting.duration(steps * cost.seconds)}"
    )


def _facts(
    encoder: ReadyEncoder,
    module: RobustDistillation,
    options: argparse.Namespace,
    count: int,
) -> dict[str, str]:
    found = ", ".join(f"{name} {number}" for name, number in versions().items())
    return {
        "network": encoder.name,
        "trained with": f"{module.attack}, {options.steps} steps",
        "kept": "nothing" if options.keep is None else f"rho = {options.keep:g}",
        "data": f"{count} images without labels",
        "teacher": module.teacher_digest,
        "versions": found,
    }


def _measure(
    module: RobustDistillation,
    images: ImageFiles,
    options: argparse.Namespace,
    path: Path,
) -> None:
    """Attack the encoder before and after, and write both side by side."""
    count = min(options.measure, len(images))
    spread = torch.linspace(0, len(images) - 1, count).long().tolist()
    batches = [
        images.__getitems__(spread[first : first + options.batch_size])
        for first in range(0, count, options.batch_size)
    ]
    before, after = (
        torch.nn.Sequential(module.normalize, network).eval().cpu()
        for network in (module.teacher, module.robust_backbone())
    )
    found = before_and_after(before, after, batches, seed=options.seed)
    for ending, content in (
        ("json", found.to_json),
        ("md", found.to_markdown),
        ("png", lambda: figures.to_png(found.figure())),
    ):
        try:
            files.replace(path / f"before-after.{ending}", content())
        except ImportError as error:  # matplotlib is an extra
            console.say(f"robustify: {error}")
    console.say(found.to_markdown())


def _batch_norms(count: int) -> str:
    if count == 0:
        return "no BatchNorm layers"
    return f"{count} BatchNorm layers, which keep their statistics"


def _short(values: Sequence[float]) -> str:
    return "/".join(f"{value:.3g}" for value in values)


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("robustify", __doc__)
    add = parser.add_argument
    source = "folder of a run, <run>/checkpoints/<name>.ckpt in it, or an exported one"
    add("encoder", type=Path, nargs="?", metavar="RUN", help=source)
    add("--backbone", metavar="NAME", help="instead: a network of timm")
    weights = "its weights; default: those that timm downloads"
    add("--weights", type=Path, metavar="FILE", help=weights)
    data = "folder with images, at any depth, without classes"
    add("--data", type=Path, required=True, metavar="FOLDER", help=data)
    add("--norm", choices=get_args(Norm), default="Linf", help="default: Linf")
    eps = "in pixels; default: 4/255"
    add("--eps", type=fractions.number, default=4 / 255, help=eps)
    keep = "rho: share of their squared length by which clean features may move"
    add("--keep", type=float, metavar="RHO", help=keep)
    add("--steps", type=int, default=2000, help="weight updates; default: 2000")
    fast = "3 steps of the attack instead of 10, and smaller images at first"
    add("--fast", action="store_true", help=fast)
    size = "height and width; default: those that the network was made for"
    add("--image_size", type=int, help=size)
    add("--lora", type=int, metavar="RANK", help="train low-rank updates only")
    add("--trainable", default="all", help=f"{trained_parts.CHOICES}; default: all")
    tokens = "whose features; default: pooled"
    add("--tokens", choices=get_args(Tokens), default="pooled", help=tokens)
    add("--distance", choices=DISTANCES, default="l2", help="default: l2")
    add("--lr", type=float, default=1e-4, help="highest rate; default: 1e-4")
    add("--batch_size", type=int, default=64, help="default: 64")
    add("--gradient_checkpointing", action="store_true", help="less memory, slower")
    add("--precision", default="32-true", help="such as bf16-mixed; default: 32-true")
    add("--accelerator", default="auto", help="as for the Trainer; default: auto")
    add("--workers", type=int, default=0, help="processes that read images; default: 0")
    measure = "attack that many of the images before and after; default: none"
    add("--measure", type=int, default=0, metavar="IMAGES", help=measure)
    add("--seed", type=int, default=0, help="default: 0")
    add("--dry_run", action="store_true", help="only say what it would take")
    out = "folder to write to; default: runs/robustify"
    add("--out", type=Path, default=Path("runs/robustify"), help=out)
    return parser
