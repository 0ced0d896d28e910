"""`lightly-adv finetune`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightly_adv.callbacks import RobustValidation
from lightly_adv.cli import checkpoints, console, loaders
from lightly_adv.cli.training import TrainingCLI
from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.lightning import cli, pl
from lightly_adv.methods import RobustClassifier
from lightly_adv.threat_model import ThreatModel

MOST_OF_KEYS = 1000
"""Longest list of keys that do not fit, in characters."""

COLUMNS = {
    "name": "checkpoint",
    "steps": "steps",
    "clean_accuracy": "clean %",
    "robust_accuracy": "robust %",
}


@dataclass(frozen=True)
class Evaluation:
    """How robust accuracy is measured, in validation and at the end.

    Args:
        threat_model: What the attacks may do. Defaults to that of the attack that is
            trained with, or else to an Linf ball of 8/255.
        suite: Which attacks to run.
        every_n_epochs: How often in training.
        max_val_samples: How many validation images to attack.
    """

    threat_model: ThreatModel | None = None
    suite: str = "pgd-20"
    every_n_epochs: int = 1
    max_val_samples: int = 512


class FinetuneCLI(TrainingCLI):
    r"""Turn a backbone into a classifier, standard or robust.

    Without --model.attack it is trained on clean images, with it on perturbed ones.
    --model.trainable says what is trained: head, last_stage or all.
    --model.criterion says what the attack raises and training minimises.
    --out gets config.yaml, run.json, checkpoints/ (the last one, and those with the
    best clean and robust accuracy on validation images) and result.json: accuracies of
    these on test images, in percent.

    Examples:
      adversarial fine-tuning of everything, on 200 labelled digits
        lightly-adv finetune --model.backbone resnet8_tiny \
          --model.checkpoint runs/pretrain/backbone.safetensors \
          --model.attack PGD --model.attack.threat_model.eps 32/255 \
          --model.attack.steps 3 --data.num_labelled 200 --out runs/finetune
      TRADES instead of the cross-entropy
        lightly-adv finetune --model.backbone resnet8_tiny \
          --model.attack PGD --model.attack.start_std 0.001 \
          --model.criterion TRADES --model.criterion.beta 6
      a standard linear head on the frozen backbone
        lightly-adv finetune --model.backbone resnet8_tiny --model.trainable head \
          --model.checkpoint runs/pretrain/backbone.safetensors
      images of your own, in PATH/train/<class>/ and PATH/test/<class>/
        lightly-adv finetune --data ImageFolderDataModule --data.root PATH
      go on after Ctrl-C or a kill, to the weights of a run that was not stopped
        lightly-adv finetune --config runs/finetune/config.yaml \
          --ckpt_path runs/finetune/checkpoints/last.ckpt

    more help:
      lightly-adv finetune --data.help ImageFolderDataModule     options of the data
      lightly-adv finetune --print_config                        all options, as YAML
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__("finetune", arguments, model_class=RobustClassifier)

    def add_arguments_to_parser(self, parser: cli.LightningArgumentParser) -> None:
        """Add the options of the evaluation; the data know the number of classes."""
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(Evaluation, "evaluation")
        parser.link_arguments(
            "data",
            "model.num_classes",
            compute_fn=num_classes_of,
            apply_on="instantiate",
        )

    @property
    def evaluation(self) -> Evaluation:
        """How robust accuracy is measured."""
        found: Evaluation = self.config_init.evaluation
        return found

    @property
    def threat_model(self) -> ThreatModel:
        """What the attacks of the evaluation may do."""
        return self.evaluation.threat_model or super().threat_model

    def callbacks(self) -> list[pl.Callback]:
        """Attack the validation images too."""
        return [
            RobustValidation(
                self.threat_model,
                suite=self.evaluation.suite,
                every_n_epochs=self.evaluation.every_n_epochs,
                max_samples=self.evaluation.max_val_samples,
            )
        ]

    def fit(self) -> bool:
        """Train, once it is known that there are test images to evaluate on."""
        self.datamodule.trainer = self.trainer  # as when Lightning asks for them
        self.datamodule.prepare_data()
        loader, _ = loaders.test_images(self.datamodule)
        if isinstance(loader, Sized) and not len(loader):
            raise ValueError(
                f"the test set of {type(self.datamodule).__name__} is empty; finetune "
                "ends in an evaluation on test images, so give it some."
            )
        return super().fit()

    def test(self) -> list[dict[str, Any]]:
        """Evaluate the last and the best checkpoints on the test images."""
        rows: dict[int, dict[str, Any]] = {}
        found = []
        for name in ("last", *checkpoints.BEST):
            path = self.folder.checkpoints / f"{name}.ckpt"
            if not path.exists():
                continue
            content = load_weights(self.model, path)
            steps = content["global_step"]
            rows[steps] = rows.get(steps) or self._evaluate()
            found.append({"name": name, "steps": steps, **rows[steps]})
        return found

    def _evaluate(self) -> dict[str, Any]:
        loader, _ = loaders.test_images(self.datamodule)
        report = evaluate_robustness(
            self.model,
            loader,
            self.threat_model,
            suite=self.evaluation.suite,
            device=self.trainer.strategy.root_device,
            progress=self.trainer.progress_bar_callback is not None,
        )
        return {
            "clean_accuracy": report.clean_accuracy,
            "robust_accuracy": report.robust_accuracy,
            "measured_with": report.label,
            "warnings": report.warnings,
        }


def load_weights(model: pl.LightningModule, path: Path) -> dict[str, Any]:
    """Load the weights of a Lightning checkpoint; return what else is in it.

    Raises:
        ValueError: If it is damaged, or if keys are missing, left over or of another
            shape.
    """
    content = checkpoints.read(path)
    try:
        model.load_state_dict(content.pop("state_dict"))
    except RuntimeError as error:
        _, _, keys = str(error).partition(":")
        keys = textwrap.shorten(keys, MOST_OF_KEYS, placeholder=" ...")
        raise ValueError(
            f"{path} does not hold the weights of this {type(model).__name__}. {keys} "
            "Take another checkpoint of the run, or the configuration that it was "
            "trained with."
        ) from error
    return content


def run(arguments: Sequence[str]) -> int:
    """Fine-tune and evaluate; return the exit code."""
    cli = FinetuneCLI(arguments)
    if cli.model.load_report is not None:
        console.say(f"finetune: {cli.model.load_report}")
    if not cli.fit():
        return 130
    cli.datamodule.setup("test")
    rows = cli.test()
    cli.folder.write_result(rows)
    console.say(console.table(rows, COLUMNS))
    console.say(f"measured with {rows[0]['measured_with']}")
    return 0


def num_classes_of(data: Any) -> int:
    """Return how many classes a data module has.

    Raises:
        ValueError: If it has no `num_classes`.
    """
    if not hasattr(data, "num_classes"):
        raise ValueError(
            f"{type(data).__name__} has no num_classes; give it this attribute, which "
            "says how many classes there are."
        )
    return int(data.num_classes)


def check_classes(count: int, name: object, data: Any) -> None:
    """Refuse a classifier of another number of classes than the data have."""
    expected = num_classes_of(data)
    if count != expected:
        raise ValueError(
            f"{name} tells {count} classes apart, but the data have {expected}; name "
            "images of the classes that it was trained on with --data."
        )
