"""What pretrain and finetune share: parse, train into a run folder, stop, resume."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightly_adv import files, lightning
from lightly_adv.callbacks import Throughput
from lightly_adv.callbacks.epoch_lines import EpochLines
from lightly_adv.callbacks.exact_resume import ExactResume
from lightly_adv.cli import checkpoints, console, fractions
from lightly_adv.cli.parser import Parser
from lightly_adv.cli.run_folder import RunFolder
from lightly_adv.lightning import callbacks, cli, loggers, pl, plugins, rank_zero_only
from lightly_adv.threat_model import ThreatModel

TRAINER_DEFAULTS = {
    "max_epochs": 20,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}


class TrainingCLI(cli.LightningCLI):
    """LightningCLI that trains into a folder of its own; its docstring is its help.

    Args:
        command: Name of the command, "pretrain" or "finetune".
        arguments: The command line behind that name.
        **options: As for `LightningCLI`.
    """

    defaults: tuple[str, ...] = ("--data=lightly_adv.data.DigitsDataModule",)
    """What stands in front of the command line. Not `set_defaults`: another class would
    inherit the values of all options of the same name."""

    def __init__(self, command: str, arguments: Sequence[str], **options: Any) -> None:
        self.command = command
        self.arguments = arguments
        super().__init__(
            args=fractions.in_arguments([*self.defaults, *arguments]),
            run=False,
            parser_class=Parser,
            parser_kwargs={
                "prog": f"lightly-adv {command}",
                **console.help_texts(type(self).__doc__),
            },
            datamodule_class=pl.LightningDataModule,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            **options,
        )

    def add_arguments_to_parser(self, parser: cli.LightningArgumentParser) -> None:
        """Add the options of a run."""
        parser.add_argument(
            "--out", default=f"runs/{self.command}", help="The folder to write to."
        )
        parser.add_argument(
            "--ckpt_path", type=str | None, help="A checkpoint to go on from."
        )

    def parse_arguments(self, parser: cli.LightningArgumentParser, args: Any) -> None:
        """Parse, without Lightning's warning about arguments other than sys.argv."""
        assert isinstance(parser, Parser)
        self.config = parser.parse_with_names(args)

    def before_instantiate_classes(self) -> None:
        """Refuse to overwrite another run, before anything is created."""
        self.folder = RunFolder(Path(self.config.out))
        checkpoint = self.config.ckpt_path
        if getattr(rank_zero_only, "rank", 0) == 0:
            self.folder.check(Path(checkpoint) if checkpoint else None)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Add our callbacks, and a logger if there is none."""
        for each in (self.model, self.datamodule):
            lightning.check_same_namespace(self.trainer_class, each)
        chosen = self.config_init.trainer
        if chosen.logger is None:
            kwargs["logger"] = loggers.CSVLogger(self.folder.path, name="logs")
        start = callbacks.LambdaCallback(on_train_start=lambda *_: self._start())
        own = [start, *self.progress(), *self.callbacks()]
        own += checkpoints.callbacks(self.folder.checkpoints)
        kwargs["callbacks"] = [*_as_list(chosen.callbacks), *own]
        chosen_plugins = _as_list(chosen.plugins)
        if not any(isinstance(each, plugins.CheckpointIO) for each in chosen_plugins):
            chosen_plugins.append(checkpoints.WholeFiles(checkpoints.LAST))
        kwargs["plugins"] = chosen_plugins
        kwargs["enable_progress_bar"] = any(
            isinstance(each, callbacks.ProgressBar) for each in own
        )
        return super().instantiate_trainer(**kwargs)

    def progress(self) -> list[pl.Callback]:
        """Return what shows loss, accuracy and images per second."""
        bar = callbacks.TQDMProgressBar() if sys.stdout.isatty() else None
        return [Throughput(), bar or EpochLines(self.command)]

    def callbacks(self) -> list[pl.Callback]:
        """Return what the command adds to every training."""
        return []

    def fit(self) -> bool:
        """Train, from `--ckpt_path` on if that is given.

        Returns:
            Whether training ran to its end; False after a signal.

        Raises:
            OSError: If a file cannot be written, with how to go on.
        """
        try:
            self.trainer.fit(
                self.model,
                datamodule=self.datamodule,
                ckpt_path=self.config.ckpt_path,
                **_ONLY_WEIGHTS,
            )
        except SystemExit:  # how newer Lightnings end after Ctrl-C
            if not self.trainer.interrupted:
                raise
        except Exception as error:
            self.folder.remove_empty()
            if isinstance(error, RuntimeError) and _OTHER_MODEL in str(error):
                raise ValueError(self._other_model(error)) from error
            if not (isinstance(error, OSError) and error.errno in files.NO_SPACE):
                raise
            hint = self._how_to_resume()
            raise OSError(f"{error}. Free some space, then {hint}") from error
        finished = not self.trainer.interrupted
        self._write("finished" if finished else "interrupted")
        if not finished:
            console.say(f"stopped; {self._how_to_resume()}")
        return finished

    @property
    def threat_model(self) -> ThreatModel:
        """What the attack of the model may do; the usual where it has none."""
        attack = getattr(self.model, "attack", None)
        return attack.threat_model if attack else ThreatModel()

    @property
    def logged(self) -> dict[str, float]:
        """The last value of everything logged, before a resume, too."""
        found: dict[str, float] = {}
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ExactResume):
                found |= callback.logged
        metrics = self.trainer.callback_metrics
        return found | {name: float(value) for name, value in metrics.items()}

    def _start(self) -> None:
        self._write("running")
        console.say(f"{self.command}: writing to {self.folder.path}")

    @rank_zero_only
    def _write(self, status: str) -> None:
        """Write config.yaml and run.json."""
        folder = self.folder
        folder.path.mkdir(parents=True, exist_ok=True)
        config = self.parser.dump(self.config, skip_link_targets=True)
        files.replace(folder.path / "config.yaml", config)
        folder.write_run(
            ["lightly-adv", self.command, *self.arguments],
            status=status,
            seed=self.config.seed_everything,
            epochs=self.trainer.current_epoch,
            steps=self.trainer.global_step,
            resumed_from=self.config.ckpt_path,
        )

    def _other_model(self, error: RuntimeError) -> str:
        """Say that the checkpoint is of another model, and where they differ first."""
        first = str(error).splitlines()[1:2] or [str(error)]
        return (
            f"{self.config.ckpt_path} is a checkpoint of another model "
            f"({first[0].strip().rstrip('.')[:200]}); expected one of the model that "
            "the options describe. Go on with the config.yaml beside its folder, or "
            "begin from its weights with --model.checkpoint."
        )

    def _how_to_resume(self) -> str:
        last = self.folder.last_checkpoint
        if not last.exists():
            return "begin again: there was nothing to save before the first step."
        return (
            f"go on with: lightly-adv {self.command} --config "
            f"{self.folder.path / 'config.yaml'} --ckpt_path {last}"
        )


_OTHER_MODEL = "in loading state_dict"
"""How PyTorch says that weights are those of another model."""

_ONLY_WEIGHTS: dict[str, Any] = (
    {"weights_only": True}
    if "weights_only" in inspect.signature(pl.Trainer.fit).parameters
    else {}
)
"""For the strategies of Lightning that read checkpoints in their own way."""


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
