"""`lightly-adv pretrain`."""

from __future__ import annotations

from collections.abc import Sequence

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser

from lightly_adv.cli import console
from lightly_adv.cli.training import TrainingCLI
from lightly_adv.models import save_backbone

DESCRIPTION = """
Pre-train a backbone without labels, standard or adversarial.

By default the pretext task is rotation and the pictures are scikit-learn's digits.
--out gets config.yaml, run.json, result.json (accuracy of the pretext task on
validation pictures, in percent), checkpoints/ and backbone.safetensors, which
`lightly-adv finetune --model.checkpoint` takes.
"""

EXAMPLES = """
examples:
  a small network on digits, adversarial, in a minute or two
    lightly-adv pretrain --model.backbone resnet8_tiny --trainer.max_epochs 5 \\
      --model.attack PGD --model.attack.threat_model.eps 32/255 \\
      --model.attack.steps 2 --out runs/pretrain
  pictures of your own, in PATH/train/<class>/ and PATH/test/<class>/
    lightly-adv pretrain --data ImageFolderDataModule --data.root PATH
  from a YAML file, with one value changed
    lightly-adv pretrain --config config.yaml --model.lr 0.05
  go on after Ctrl-C
    lightly-adv pretrain --config runs/pretrain/config.yaml \\
      --ckpt_path runs/pretrain/checkpoints/last.ckpt

--model.task and --model.attack take registered names (rotation, pgd), also those of
installed plug-ins; --model.attack takes import paths (lightly_adv.PGD), too.

--model takes any LightningModule by its import path, such as your own SimCLR. To make
its training adversarial, add the callback lightly_adv.AdversarialTraining to
trainer.callbacks in the YAML file.

more help:
  lightly-adv pretrain --model.help PretextModule            options of the model
  lightly-adv pretrain --data.help ImageFolderDataModule     options of the data
  lightly-adv pretrain --print_config                        all options, as YAML
"""


class PretrainCLI(TrainingCLI):
    """Pre-training of a `PretextModule`, or of any LightningModule."""

    description = DESCRIPTION
    examples = EXAMPLES

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(
            "pretrain",
            arguments,
            model_class=pl.LightningModule,
            subclass_mode_model=True,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Choose the model if no other is asked for."""
        super().add_arguments_to_parser(parser)
        parser.set_defaults(
            {"model": {"class_path": "lightly_adv.methods.PretextModule"}}
        )


def run(arguments: Sequence[str]) -> int:
    """Pre-train; return the exit code."""
    cli = PretrainCLI(arguments)
    if not cli.fit():
        return 130
    logged = {name: float(v) for name, v in cli.trainer.callback_metrics.items()}
    row = {
        "name": f"{type(cli.model).__name__}, validation",
        "clean_accuracy": logged.get("val_top1"),
        "robust_accuracy": logged.get("val_robust_top1"),
    }
    cli.folder.write_result([row], logged=logged)
    backbone = getattr(cli.model, "backbone", None)
    if backbone is not None:
        path = cli.folder.path / "backbone.safetensors"
        save_backbone(backbone, path, overwrite=True)
        console.say(f"pretrain: the backbone is in {path}")
    return 0
