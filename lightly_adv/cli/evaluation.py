"""How every evaluation command runs: restore, evaluate, print, write.

A command says in a subclass of `EvaluationCommand` what its options are, how its report
is called, and how it is measured.
"""

from __future__ import annotations

import argparse
import glob
import json
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, get_args

from lightly_adv import files
from lightly_adv.cli import console, fractions, loaders, networks
from lightly_adv.evaluation import figures
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm

R = TypeVar("R")

RENDERED: dict[str, Callable[[Any], str | bytes]] = {
    ".html": lambda report: report.to_html(),
    ".md": lambda report: report.to_markdown().rstrip("\n") + "\n",
    ".png": lambda report: figures.to_png(report.figure()),
}
"""Other forms of a report, by their endings."""


class EvaluationCommand(ABC, Generic[R]):
    """One call of a command that evaluates networks.

    Args:
        options: The options of the command.
        others: What else is on the command line: options of the data.

    Raises:
        ValueError: If the networks do not fit the command.
    """

    name: ClassVar[str]
    """What it is called; its help is the docstring of the class."""

    several: ClassVar[bool] = False
    """Whether it takes several networks."""

    has_head: ClassVar[bool] = True
    """Whether it is about classifiers where it has the choice."""

    has_threat_model: ClassVar[bool] = False
    """Whether norm and eps can be chosen."""

    resumable: ClassVar[bool] = False
    """Whether an interrupted evaluation can be resumed."""

    other_endings: ClassVar[tuple[str, ...]] = ()
    """Endings of the other files that are written."""

    seeded: ClassVar[str]
    """What the seed is the seed of."""

    def __init__(self, options: argparse.Namespace, others: Sequence[str]) -> None:
        self.options = options
        self.others = others
        if len(options.networks) > 1 and not self.several:
            raise ValueError(
                f"{len(options.networks)} networks are given, and {self.name} takes "
                "one; run it for each of them."
            )
        self.networks = networks.collect(
            options.networks,
            others,
            backbone=options.backbone,
            weights=options.weights,
            has_head=self.has_head,
        )
        self.network = self.networks[0]

    @classmethod
    @abstractmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options that only this command has."""

    @abstractmethod
    def title(self) -> str:
        """Return what is measured, for the file name of the report."""

    @abstractmethod
    def evaluate(self, loader: Iterable[Any], **options: Any) -> R:
        """Measure.

        Args:
            loader: Test images.
            **options: `device`, `seed`, `max_samples`, `progress`, and `state` if the
                command is resumable.
        """

    @abstractmethod
    def text(self, report: R) -> str:
        """Return the text to print."""

    @cached_property
    def images(self) -> tuple[Iterable[Any], str]:
        """The test images, and in which order they come."""
        return loaders.test_images(self.network.data)

    def content(self, report: Any) -> Mapping[str, Any]:
        """Return the JSON content of the report itself."""
        found: Mapping[str, Any] = json.loads(report.to_json(name=self.network.name))
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """What the report is about."""
        return {
            "order": self.images[1],
            "checkpoints": [str(each.weights) for each in self.networks],
            "checkpoint_sha256": networks.sha256_of(self.networks),
        }

    @property
    def threat_model(self) -> ThreatModel:
        """What the attacks may do."""
        options = self.options
        return networks.threat_model(self.networks, norm=options.norm, eps=options.eps)

    @classmethod
    def run(cls, arguments: Sequence[str]) -> int:
        """Evaluate as a command line asks for; return the exit code."""
        arguments, others = split(arguments)
        options, unknown = cls.parser().parse_known_args(arguments)
        others += unknown
        command = cls(options, others)
        output = command.output()
        report = command.evaluate(
            command.images[0],
            device=command.network.device,
            seed=options.seed,
            max_samples=options.max_samples,
            progress=sys.stderr.isatty(),
            **({"state": output.state} if cls.resumable else {}),
        )
        console.say(command.text(report))
        content = {**command.content(report), **command.facts}
        console.say(f"{cls.name}: {output.write(report, content)}")
        return 0

    def output(self) -> Output:
        """Return where to write, once it is known that nothing is overwritten."""
        name = re.sub(r"[^\w.]+", "-", self.title()).strip("-")
        path: Path = self.options.out or self.network.folder / name
        return Output(path, self.name, self.other_endings).claim()

    @classmethod
    def parser(cls) -> argparse.ArgumentParser:
        """Return the parser of the command."""
        parser = plain_parser(cls.name, cls.__doc__)
        add = parser.add_argument
        add(
            "networks",
            type=Path,
            nargs="*",
            metavar="RUN",
            help="folder of a run, <run>/checkpoints/<name>.ckpt in it, or a folder "
            "that lightly-adv export has written",
        )
        add("--backbone", metavar="NAME", help="instead: a network of timm")
        weights = "its weights; default: those that timm downloads"
        add("--weights", type=Path, metavar="FILE", help=weights)
        if cls.has_threat_model:
            add(
                "--norm",
                choices=get_args(Norm),
                help="default: that of the run; another one takes --eps, too",
            )
            eps = "in pixels; default: that of the run"
            add("--eps", type=fractions.number, help=eps)
        add(
            "--max_samples",
            type=int,
            help="use only that many test images, of all classes alike; default: all",
        )
        add("--seed", type=int, default=0, help=f"seed of {cls.seeded}; default: 0")
        cls.add_options(parser)
        others = (
            f", with {' and '.join(cls.other_endings)} beside it"
            if cls.other_endings
            else ""
        )
        add(
            "--out",
            type=Path,
            help=f"JSON file to write{others}; default: in the folder of the run, "
            "or in runs/<name> for other networks",
        )
        return parser


class Output:
    """The files of a report, and of its state until it is written.

    Args:
        path: The JSON file, with or without its ending.
        command: The command that writes it.
        other_endings: Endings of the other files of the report.
    """

    def __init__(
        self, path: Path, command: str, other_endings: Sequence[str] = ()
    ) -> None:
        self.command = command
        stem = path.name.removesuffix(".json")
        self.report = path.with_name(f"{stem}.json")
        self.others = {
            ending: path.with_name(f"{stem}{ending}") for ending in other_endings
        }
        self.state = path.with_name(f"{stem}.json.state")

    def claim(self) -> Output:
        """Make the folder, unless something would be overwritten.

        Raises:
            FileExistsError: If something would.
        """
        going_on = self.state.exists()
        # With the state there, the others are left from before a kill.
        written = [] if going_on else self.others.values()
        for path in (self.report, *written):
            if path.exists():
                raise FileExistsError(f"{path} exists; choose another file with --out.")
        self.report.parent.mkdir(parents=True, exist_ok=True)
        if going_on:
            console.say(f"{self.command}: going on from {self.state}")
        return self

    def write(self, report: Any, content: Mapping[str, Any]) -> str:
        """Write all of it, the JSON last; return where it is, in words."""
        where = []
        for ending, path in self.others.items():
            try:
                files.replace(path, RENDERED[ending](report))
                where.append(f"beside it {path.name}")
            except ImportError as error:  # matplotlib is an extra
                where.append(str(error))
        files.replace(self.report, _json(content))
        for path in self.report.parent.glob(f"{glob.escape(self.state.name)}*"):
            path.unlink()
        return "; ".join([f"the report is in {self.report}", *where])


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell the options of the run apart, with their values.

    Examples:
        >>> split(["--data", "Digits", "runs/a", "--eps", "0", "--data.root=b"])
        (['runs/a', '--eps', '0'], ['--data', 'Digits', '--data.root=b'])
    """
    sides: tuple[list[str], list[str]] = ([], [])
    is_value = False
    for argument in arguments:
        is_option = argument.startswith("--")
        of_run = (is_value and not is_option) or bool(_OF_RUN.match(argument))
        is_value = of_run and is_option and "=" not in argument
        sides[of_run].append(argument)
    return sides


_OF_RUN = re.compile(r"--(data|model|trainer|evaluation)(?=[.=]|$)")


class _Parser(argparse.ArgumentParser):
    """Takes options with dashes in place of underscores, too."""

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument; for `--max_samples` also as `--max-samples`."""
        dashed = (
            f"--{name[2:].replace('_', '-')}" for name in names if "_" in name[2:]
        )
        options = dashed if names[0].startswith("--") else ()
        return super().add_argument(*names, *options, **settings)


def plain_parser(command: str, docstring: str | None) -> argparse.ArgumentParser:
    """Return a parser without options, whose help is the docstring of the command."""
    return _Parser(
        prog=f"lightly-adv {command}",
        **console.help_texts(docstring),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _json(content: Mapping[str, Any]) -> str:
    """Return JSON with one line for each entry: flags over 1,000 lines read badly."""
    entries = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in content.items())
    return "{\n" + ",\n".join(entries) + "\n}\n"
