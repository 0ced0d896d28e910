r"""Adversarial training, self-supervised and robust, for Lightly and timm.

Each command has a help of its own: lightly-adv pretrain --help

Examples:
  lightly-adv demo
  lightly-adv pretrain --model.backbone resnet8_tiny --out runs/pretrain
  lightly-adv finetune --model.backbone resnet8_tiny --out runs/finetune \
    --model.checkpoint runs/pretrain/backbone.safetensors
  lightly-adv robustify --backbone tf_efficientnet_lite0 --data images --eps 4/255
  lightly-adv evaluate runs/finetune/checkpoints/last.ckpt --eps 8/255
  lightly-adv unforeseen runs/finetune/checkpoints/last.ckpt --max_samples 1000
  lightly-adv corruptions runs/finetune/checkpoints/last.ckpt --severities 1 3 5
  lightly-adv encoder runs/pretrain/checkpoints/last.ckpt --eps 8/255
  lightly-adv transfer runs/{rotation,jigsaw}/checkpoints/last.ckpt
  lightly-adv export runs/finetune/checkpoints/best-robust.ckpt --out exported
  lightly-adv audit table.csv
  lightly-adv doctor train.py

Errors are one line; LIGHTLY_ADV_TRACEBACK=1 shows where they come from.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from lightly_adv import __version__, lightning
from lightly_adv.cli import console, lightning_messages, signals
from lightly_adv.functional import validation

COMMANDS = {
    "pretrain": "Pre-train a backbone without labels, standard or adversarial.",
    "finetune": "Turn a backbone into a classifier, standard or robust.",
    "robustify": "Make a ready encoder robust, from images without labels.",
    "evaluate": "Measure clean and robust accuracy of a fine-tuned classifier.",
    "compare": "Say which of two evaluated classifiers is more robust.",
    "unforeseen": "Measure accuracy under attacks of ten other kinds.",
    "corruptions": "Measure accuracy under noise, blur, weather and the like.",
    "encoder": "Measure how robust embeddings are, without a classifier.",
    "transfer": "Measure which models perturbations made for one of them mislead.",
    "export": "Write a network into a folder that timm loads, with a card.",
    "audit": "Name what cannot be in a table of accuracies.",
    "doctor": "Examine a module before it is trained against attacks.",
    "demo": "Compare three ways to a robust classifier, in a few minutes on a CPU.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line after the name of the program. Defaults to that of
            the process.

    Returns:
        The exit code: 0, 1 after an error, 2 for an unknown command, 130 after Ctrl-C,
        143 after SIGTERM and 129 after SIGHUP.

    Examples:
        >>> main(["--version"])
        lightly-adv 0.1.0
        0
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[0] if given else "--help"
    if command in ("-h", "--help", "help"):
        console.say(_usage())
    elif command == "--version":
        console.say(f"lightly-adv {__version__}")
    elif command not in COMMANDS:
        console.complain(validation.unknown("command", command, COMMANDS))
        return 2
    else:
        return _run(command, given[1:])
    return 0


def _run(command: str, arguments: list[str]) -> int:
    # Lightning uses names of jsonargparse that are on their way out.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    lightning_messages.hide_harmless()
    with signals.listening() as stop:
        try:
            module = importlib.import_module(f"lightly_adv.cli.{command}")
            code: int = module.run(arguments)
        except KeyboardInterrupt:
            console.complain("stopped.")
            return stop.exit_code
        except _MISTAKES as error:
            if os.environ.get("LIGHTLY_ADV_TRACEBACK"):
                raise
            console.complain(str(error) or type(error).__name__)
            return 1
        return stop.exit_code if stop.asked else code


def _usage() -> str:
    texts = console.help_texts(__doc__)
    lines = (f"  {name:13}{text}" for name, text in COMMANDS.items())
    usage = "usage: lightly-adv COMMAND [options]"
    commands = "\n".join(["commands:", *lines])
    return "\n\n".join([usage, texts["description"], commands, texts["epilog"]])


_MISTAKES = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    *lightning.kinds("utilities.exceptions.MisconfigurationException"),
)
"""Errors that come from what the user asked for, and say so."""
