"""`lightly-adv encoder`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from torch import nn
from torch.utils.data import DataLoader

from lightly_adv.cli import attacked, console, loaders, transfer
from lightly_adv.cli.run_folder import write_json
from lightly_adv.data import splits
from lightly_adv.data.image_dataset import ImageDataset
from lightly_adv.evaluation import EncoderReport, evaluate_encoder, formatting
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.evaluation.encoders.measures import Pairs
from lightly_adv.lightning import pl
from lightly_adv.methods import AdversarialModule
from lightly_adv.models import backbones

EXAMPLES = """\
The encoder is the backbone of a pre-trained or a fine-tuned checkpoint, the data are
those of its run; options of the data change them. Test images are attacked, and
training images, as they are without augmentation, vote as nearest neighbours. Nothing
is trained.

examples:
  lightly-adv encoder runs/pretrain/checkpoints/last.ckpt --eps 8/255
  lightly-adv encoder runs/pretrain/checkpoints/last.ckpt --max_samples 500 \\
    --max_bank 5000 --steps 50
  lightly-adv encoder runs/pretrain/checkpoints/last.ckpt --pairs nearest \\
    --data ImageFolderDataModule --data.root OTHER_IMAGES
"""

MEANINGS = {
    "val_knn_top1": "% right by the vote of nearest neighbours",
    "val_robust_knn_top1": "% right without and under every attack",
    "val_impersonation_rate": "% taken for the class of another image",
    "val_cosine_drift": "mean cosine distance from the clean embedding",
    "val_cosine_drift_q10": "its 10 % quantile",
    "val_cosine_drift_q50": "its median",
    "val_cosine_drift_q90": "its 90 % quantile",
    "val_relative_quantile": "% of other images nearer than the attacked one",
    "val_breakaway_risk": "% of other images that the attacked one is nearer to",
    "val_nearest_neighbor_top1": "% still nearest to themselves",
    "val_overlap_risk": "% overtaken by another image",
}
"""What the numbers mean, in a few words."""


def run(arguments: Sequence[str]) -> int:
    """Measure how robust an encoder is; return the exit code."""
    options, others = _parser().parse_known_args(arguments)
    checkpoint: Path = options.checkpoint
    cli = transfer.restore(checkpoint, others)
    facts = attacked.facts(checkpoint)
    threat_model = attacked.threat_model([cli], norm=options.norm, eps=options.eps)
    name = f"{checkpoint.stem}, {formatting.ball(threat_model)}"
    out: Path = options.out or cli.folder.path / f"{_file_name(name)}.json"
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another file with --out.")
    loader, order = loaders.test_images(cli.datamodule)
    report = evaluate_encoder(
        encoder_of(cli.model),
        loader,
        threat_model,
        bank=_bank(cli.datamodule),
        steps=options.steps,
        restarts=options.restarts,
        distance=options.distance,
        pairs=options.pairs,
        k=options.knn_k,
        temperature=options.knn_t,
        max_samples=options.max_samples,
        max_bank=options.max_bank,
        device=cli.trainer.strategy.root_device,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    console.say(f"{_text(report)}\n{report.label}")
    content = json.loads(report.to_json(name=checkpoint.stem))
    write_json(out, {**content, "order": order, **facts})
    console.say(f"encoder: the report is in {out}")
    return 0


def encoder_of(model: pl.LightningModule) -> nn.Module:
    """Return what maps images in [0, 1] to features.

    Args:
        model: An `AdversarialModule`, or any other module with a `backbone`.

    Raises:
        ValueError: If there is no backbone.
    """
    if isinstance(model, AdversarialModule):
        return model.encoder
    return backbones.encoder_of(model)


def _bank(data: pl.LightningDataModule) -> Iterable[Any]:
    """Return training images, of all classes in turn, as they are.

    Raises:
        ValueError: If the data have another kind of training images.
    """
    data.setup("fit")
    dataset = getattr(data, "train_dataset", None)
    if not isinstance(dataset, ImageDataset):
        raise ValueError(
            f"{type(data).__name__} does not tell its training images apart from "
            "their augmentation; use a data module of lightly_adv.data, or call "
            "lightly_adv.evaluation.evaluate_encoder(..., bank=...) in Python."
        )
    loader = data.train_dataloader()
    spread = splits.spread(dataset.labels)
    plain = ImageDataset(dataset.images, dataset.indices[spread])
    return DataLoader(
        plain,
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )


def _text(report: EncoderReport) -> str:
    """Return one line for each number."""
    rows = [
        {"name": name, "value": _number(name, value), "meaning": MEANINGS[name]}
        for name, value in report.metrics().items()
    ]
    width = max(len(row["value"]) for row in rows)
    return "\n".join(
        f"{row['name']:26}{row['value']:>{width}}  {row['meaning']}" for row in rows
    )


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if "drift" in name else f"{value:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = attacked.parser(
        "encoder",
        "Measure how robust the embeddings of a pre-trained network are.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="<run>/checkpoints/<name>.ckpt")
    attacked.add_options(parser, seed="noise and pairs")
    add("--max_bank", type=int, help="use only that many training images")
    add("--steps", type=int, default=20, help="steps of each attack; default: 20")
    add("--restarts", type=int, default=1, help="how often to run each; default: 1")
    add("--knn_k", type=int, default=200, help="neighbours that vote; default: 200")
    add("--knn_t", type=float, default=0.1, help="temperature; default: 0.1")
    distances, pairs = get_args(Distance), get_args(Pairs)
    add("--distance", choices=distances, default="cosine", help="what is raised")
    add("--pairs", choices=pairs, default="random", help="who is led towards whom")
    add(
        "--out", type=Path, help="JSON file to write; default: in the folder of the run"
    )
    return parser


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", f"encoder {text}").strip("-")
