"""The base of all reports: the facts of an evaluation, as text and as JSON."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from lightly_adv import files, json_files
from lightly_adv.evaluation import encoding, formatting
from lightly_adv.json_files import Need
from lightly_adv.threat_model import ThreatModel
from lightly_adv.versions import versions

R = TypeVar("R", bound="Report")


@dataclass(frozen=True, eq=False, kw_only=True)
class Report(ABC):
    """What every report says: how the numbers came about, and of what.

    A report is written with `to_json` or `save`, and read with `from_json` or `load`.
    The JSON has all fields of the report by their names and what follows from them;
    the list `rows` has one row per model, with `name`, `clean_accuracy` and
    `robust_accuracy` in percent; to compare models, put their rows together.

    Args:
        name: Name of the model. Results of the same name are taken for seeds.
        threat_model: What the attacks were allowed to do, where there is one.
        seed: Seed of all that is drawn.
        model_digest: Digest of the layers and weights of the model.
        data_digest: Digest of all images and labels, however they are batched.
        batch_size: Size of the largest batch; the noise of attacks depends on it.
        device: Type of the device, such as "cuda".
        versions: Versions of the packages that the numbers depend on.
        warnings: Reasons to doubt the numbers.
        notes: What was done differently than the suite does as a rule, for instance
            because there are few classes.
    """

    name: str = "model"
    threat_model: ThreatModel | None = None
    seed: int = 0
    model_digest: str = ""
    data_digest: str = ""
    batch_size: int | None = None
    device: str | None = None
    versions: Mapping[str, str | None] = field(default_factory=versions)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    if TYPE_CHECKING:  # a field in some reports, a property in others

        @property
        def num_samples(self) -> int:
            """Number of images."""

    @property
    @abstractmethod
    def conditions(self) -> str:
        """What the numbers were measured with, such as the suite."""

    @property
    def label(self) -> str:
        """What has to be said with every number: conditions, threat model, images."""
        ball = [] if self.threat_model is None else [formatting.ball(self.threat_model)]
        return ", ".join([self.conditions, *ball, images(self.num_samples)])

    @property
    @abstractmethod
    def summary(self) -> str:
        """The main numbers, in one line."""

    @abstractmethod
    def numbers(self) -> dict[str, Any]:
        """Return the main numbers by name, with both accuracies in percent first."""

    def row(self, name: str | None = None) -> dict[str, Any]:
        """Return the main numbers in one row, for tables and figures.

        Args:
            name: Name of the row. Defaults to that of the model.
        """
        row = {"name": self.name if name is None else name, **self.numbers()}
        if self.threat_model is not None:
            row["norm"], row["eps"] = self.threat_model.norm, self.threat_model.eps
            row["eps_text"] = formatting.fraction(self.threat_model.eps)
        return {**row, "num_samples": self.num_samples}

    def derived(self) -> dict[str, Any]:
        """Return numbers that follow from the fields, for readers of the JSON."""
        return {}

    @classmethod
    def in_order(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON of a report with what tools that sort keys have changed."""
        return content

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model."""
        return [self.row()]

    def __str__(self) -> str:
        """Return one line, and one more per warning and note."""
        warnings = [f"warning: {warning}" for warning in self.warnings]
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([f"{self.summary} ({self.label})", *warnings, *notes])

    def to_json(self, *, name: str | None = None, indent: int | None = None) -> str:
        """Return the report as JSON: rows, all fields, and what follows from them.

        Args:
            name: Name of the model. Defaults to that of the report.
            indent: As for `json.dumps`.
        """
        if name is not None:
            return dataclasses.replace(self, name=name).to_json(indent=indent)
        fields = encoding.encode(self)
        model = {"name": fields.pop("name"), "digest": fields.pop("model_digest")}
        data = {"digest": fields.pop("data_digest"), "num_samples": self.num_samples}
        if self.threat_model is not None:
            eps = formatting.fraction(self.threat_model.eps)
            fields["threat_model"]["eps_text"] = eps
        content = {
            "kind": type(self).__name__,
            "rows": self.rows(),
            "model": model,
            "data": data,
            **fields,
            **self.derived(),
        }
        return json.dumps(content, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes, *, path: str | Path = "the text") -> Self:
        """Return the report that `to_json` has written.

        Called on a kind of report it takes that kind alone, on `Report` any.

        Args:
            text: The JSON. Keys that are not known are ignored.
            path: Where it comes from, for messages.

        Raises:
            ValueError: If it is no JSON, or no such report; with the field.
        """
        kinds = _kinds(cls)
        what = f"the report of one evaluation, a {' or '.join(kinds)}"
        names = " or ".join(map(repr, kinds))
        kind = Need(lambda part: part in list(kinds), names)
        content = json_files.parse(
            text, {"kind": kind}, path=path, what=what, remedy=_REMEDY
        )
        try:
            facts = encoding.decode(_Facts, content)
            content |= {
                "name": facts.model.name,
                "model_digest": facts.model.digest,
                "data_digest": facts.data.digest,
            }
            found = kinds[content["kind"]]
            report: Self = encoding.decode(found, found.in_order(content))
        except ValueError as error:
            raise ValueError(f"{path} is not {what}: {error}. {_REMEDY}") from error
        return report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file as JSON. Missing folders are made."""
        files.replace(Path(path), self.to_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the report in a file that `save` or a command has written.

        Called on a kind of report it takes that kind alone, on `Report` any.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no such report.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {path}; expected the report of one evaluation. {_REMEDY}"
            )
        return cls.from_json(path.read_bytes(), path=path)


def _kinds(base: type[R]) -> dict[str, type[R]]:
    """Return the reports that a class stands for, by name: itself, or what it is of."""
    if not inspect.isabstract(base):
        return {base.__name__: base}
    return {
        name: kind
        for part in base.__subclasses__()
        for name, kind in _kinds(part).items()
    }


@dataclass(frozen=True)
class _Model:
    name: str
    digest: str


@dataclass(frozen=True)
class _Data:
    digest: str


@dataclass(frozen=True)
class _Facts:
    model: _Model
    data: _Data


def images(count: int) -> str:
    """Return a number of images in words.

    Examples:
        >>> images(1), images(2000)
        ('1 image', '2,000 images')
    """
    return f"{count:,} {'image' if count == 1 else 'images'}"


_REMEDY = "Give what a report was saved to, or evaluate the model again."
