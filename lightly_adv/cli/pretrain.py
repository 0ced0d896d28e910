"""`lightly-adv pretrain`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightly_adv.cli import console
from lightly_adv.cli.checkpoints import BEST, SaveBestBackbone
from lightly_adv.cli.run_folder import RunFolder
from lightly_adv.cli.training import TrainingCLI
from lightly_adv.lightning import pl
from lightly_adv.methods import is_method, load_method
from lightly_adv.models import save_backbone


class PretrainCLI(TrainingCLI):
    r"""Pre-train a backbone without labels, standard or adversarial.

    By default the pretext task is rotation and the images are scikit-learn's digits.
    --out gets config.yaml, run.json, result.json (accuracy of the pretext task on
    validation images, in percent), checkpoints/ (the last one, and those with the best
    clean and robust accuracy on validation images) and the backbones of these, which
    `lightly-adv finetune --model.checkpoint` takes: backbone.safetensors,
    backbone-best-clean.safetensors and backbone-best-robust.safetensors.

    Examples:
      a small network on digits, adversarial, in a minute or two
        lightly-adv pretrain --model.backbone resnet8_tiny --trainer.max_epochs 5 \
          --model.attack PGD --model.attack.threat_model.eps 32/255 \
          --model.attack.steps 2 --out runs/pretrain
      another pretext task, with options of its own
        lightly-adv pretrain --model.task jigsaw --model.task_options '{grid: 2}'
      several tasks at once on one trunk
        lightly-adv pretrain --model PretextEnsembleModule \
          --model.tasks '[rotation, jigsaw, selfie]' --model.diversity_weight 0.1
      images of your own, in PATH/train/<class>/ and PATH/test/<class>/
        lightly-adv pretrain --data ImageFolderDataModule --data.root PATH
      from a YAML file, with one value changed
        lightly-adv pretrain --config config.yaml --model.lr 0.05
      go on after Ctrl-C or a kill, to the weights of a run that was not stopped
        lightly-adv pretrain --config runs/pretrain/config.yaml \
          --ckpt_path runs/pretrain/checkpoints/last.ckpt

    --model.task and --model.attack take registered names (rotation, jigsaw, selfie;
    pgd), also those of installed plug-ins, and --model.attack import paths, too
    (lightly_adv.PGD).

    --model takes the name of a method (deacl, rocl, dynacl, air, advcl; their views are
    made by --data.transform), and any LightningModule by its import path, such as your
    own SimCLR. To make its training adversarial, add the callback
    lightly_adv.AdversarialTraining to trainer.callbacks in the YAML file.

    more help:
      lightly-adv pretrain --model.help PretextModule            options of the model
      lightly-adv pretrain --data.help ImageFolderDataModule     options of the data
      lightly-adv pretrain --print_config                        all options, as YAML
    """

    defaults = (*TrainingCLI.defaults, "--model=lightly_adv.methods.PretextModule")

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(
            "pretrain",
            with_class_paths(arguments),
            model_class=pl.LightningModule,
            subclass_mode_model=True,
        )

    def callbacks(self) -> list[pl.Callback]:
        """Keep the backbones of the best checkpoints, too."""
        return [
            SaveBestBackbone(backbone_path(self.folder, name), monitor=monitor)
            for name, monitor in BEST.items()
        ]


def with_class_paths(arguments: Sequence[str]) -> list[str]:
    """Replace the name of a registered method behind --model by its import path.

    Examples:
        >>> with_class_paths(["--model", "deacl", "--model.weight", "1"])
        ['--model', 'lightly_adv.methods.deacl.DeACL', '--model.weight', '1']
        >>> with_class_paths(["--model=DeACL"])
        ['--model=DeACL']
    """
    replaced = list(arguments)
    for at, argument in enumerate(arguments):
        option, equals, name = argument.partition("=")
        place = at if equals else at + 1
        if option != "--model" or place >= len(arguments):
            continue
        name = name or arguments[place]
        if is_method(name):
            factory = load_method(name)
            path = f"{factory.__module__}.{factory.__qualname__}"
            replaced[place] = f"--model={path}" if equals else path
    return replaced


def run(arguments: Sequence[str]) -> int:
    """Pre-train; return the exit code."""
    cli = PretrainCLI(arguments)
    if not cli.fit():
        return 130
    logged = cli.logged
    row = {
        "name": f"{type(cli.model).__name__}, validation",
        "clean_accuracy": logged.get("val_top1"),
        "robust_accuracy": logged.get("val_robust_top1"),
    }
    cli.folder.write_result([row], logged=logged)
    backbone = getattr(cli.model, "backbone", None)
    if backbone is not None:
        path = backbone_path(cli.folder)
        save_backbone(backbone, path, overwrite=True)
        console.say(f"pretrain: the backbone is in {path}")
    for name in BEST:
        if backbone_path(cli.folder, name).exists():
            path = backbone_path(cli.folder, name)
            console.say(f"pretrain: that of {name}.ckpt is in {path}")
    return 0


def backbone_path(folder: RunFolder, checkpoint: str = "last") -> Path:
    """Return where the backbone of a checkpoint is written."""
    suffix = "" if checkpoint == "last" else f"-{checkpoint}"
    return folder.path / f"backbone{suffix}.safetensors"
