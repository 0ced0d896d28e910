"""`lightly-adv encoder`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, get_args

from torch import nn

from lightly_adv.cli import loaders
from lightly_adv.cli.evaluation import EvaluationCommand
from lightly_adv.evaluation import EncoderReport, evaluate_encoder, formatting
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.evaluation.encoders.measures import Pairs
from lightly_adv.methods import AdversarialModule
from lightly_adv.models import backbones

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


class Encoder(EvaluationCommand[EncoderReport]):
    r"""Measure how robust the embeddings of a pre-trained network are.

    The encoder is the backbone of a pre-trained or a fine-tuned checkpoint, the data
    are those of its run; options of the data change them. Test images are attacked, and
    training images, without augmentation, vote as nearest neighbours. Nothing is
    trained.

    Examples:
      lightly-adv encoder runs/pretrain/checkpoints/last.ckpt --eps 8/255
      lightly-adv encoder runs/pretrain/checkpoints/last.ckpt --max_samples 500 \
        --max_bank 5000 --steps 50
      lightly-adv encoder runs/pretrain/checkpoints/last.ckpt --pairs nearest \
        --data ImageFolderDataModule --data.root OTHER_IMAGES
    """

    name = "encoder"
    seeded = "noise and pairs"
    has_threat_model = True
    has_head = False

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options of attacks and nearest neighbours."""
        add = parser.add_argument
        add("--max_bank", type=int, help="use only that many training images")
        add("--steps", type=int, default=20, help="steps of each attack; default: 20")
        add("--restarts", type=int, default=1, help="how often to run each; default: 1")
        add("--knn_k", type=int, default=200, help="neighbours that vote; default: 200")
        add("--knn_t", type=float, default=0.1, help="temperature; default: 0.1")
        distances, pairs = get_args(Distance), get_args(Pairs)
        add(
            "--distance",
            choices=distances,
            default="cosine",
            help="the distance to raise",
        )
        add(
            "--pairs",
            choices=pairs,
            default="random",
            help="how an image is paired with the one that it is moved towards",
        )

    def title(self) -> str:
        """Name the threat model."""
        ball = formatting.ball(self.threat_model)
        return f"{self.name} {self.network.name}, {ball}"

    def evaluate(self, loader: Iterable[Any], **options: Any) -> EncoderReport:
        """Attack the embeddings."""
        chosen = self.options
        return evaluate_encoder(
            encoder_of(self.network.module),
            loader,
            self.threat_model,
            bank=loaders.plain_training_images(self.network.data),
            steps=chosen.steps,
            restarts=chosen.restarts,
            distance=chosen.distance,
            pairs=chosen.pairs,
            k=chosen.knn_k,
            temperature=chosen.knn_t,
            max_bank=chosen.max_bank,
            **options,
        )

    def text(self, report: EncoderReport) -> str:
        """Return one line for each number."""
        rows = [
            (name, _number(name, value), MEANINGS[name])
            for name, value in report.metrics().items()
        ]
        width = max(len(number) for _, number, _ in rows)
        lines = (
            f"{name:26}{number:>{width}}  {meaning}" for name, number, meaning in rows
        )
        return "\n".join([*lines, report.label])


run = Encoder.run


def encoder_of(model: nn.Module) -> nn.Module:
    """Return what maps images in [0, 1] to features.

    Args:
        model: An `AdversarialModule`, or any other module with a `backbone`.

    Raises:
        ValueError: If there is no backbone.
    """
    if isinstance(model, AdversarialModule):
        return model.encoder
    return backbones.encoder_of(model)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if "drift" in name else f"{value:.1f}"
