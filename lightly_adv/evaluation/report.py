"""The base of all reports: the facts of an evaluation, as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import Self

from lightly_adv import files, json_files
from lightly_adv.evaluation import formatting
from lightly_adv.json_files import Need, Needs
from lightly_adv.threat_model import ThreatModel
from lightly_adv.versions import versions


@dataclass(frozen=True, eq=False, kw_only=True)
class Report(ABC):
    """What every report says: how the numbers came about, and of what.

    A report is written with `to_json` or `save`, and read with `from_json` or `load`.
    The list `rows` in the JSON has one row per model, with `name`, `clean_accuracy`
    and `robust_accuracy` in percent; to compare models, put their rows together.

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
    def label(self) -> str:
        """What has to be said with every number, such as suite and threat model."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """The main numbers, in one line."""

    @abstractmethod
    def row(self, name: str | None = None) -> dict[str, Any]:
        """Return the main numbers in one row, for tables and figures.

        Args:
            name: Name of the row. Defaults to that of the model.
        """

    @abstractmethod
    def results(self) -> dict[str, Any]:
        """Return all numbers but the facts, ready for JSON."""

    @classmethod
    @abstractmethod
    def needs(cls, content: Mapping[str, Any]) -> Needs:
        """Return what the JSON of such a report has to hold, besides the facts.

        Args:
            content: The JSON. A need may look at fields that come before its own.
        """

    @classmethod
    @abstractmethod
    def read_results(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that `results` was made of."""

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model."""
        return [self.row()]

    def __str__(self) -> str:
        """Return one line, and one more per warning and note."""
        warnings = [f"warning: {warning}" for warning in self.warnings]
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([f"{self.summary} ({self.label})", *warnings, *notes])

    def to_json(self, *, name: str | None = None, indent: int | None = None) -> str:
        """Return the report as JSON: rows, results, settings, versions.

        Args:
            name: Name of the model. Defaults to that of the report.
            indent: As for `json.dumps`.
        """
        if name is not None:
            return dataclasses.replace(self, name=name).to_json(indent=indent)
        content = {
            "kind": type(self).__name__,
            "rows": self.rows(),
            "threat_model": self.threat_model
            and describe_threat_model(self.threat_model),
            "model": {"name": self.name, "digest": self.model_digest},
            "data": {"digest": self.data_digest, "num_samples": self.num_samples},
            "seed": self.seed,
            "batch_size": self.batch_size,
            "device": self.device,
            "warnings": self.warnings,
            "notes": self.notes,
            "versions": dict(self.versions),
            **self.results(),
        }
        return json.dumps(content, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes, *, path: str | Path = "the text") -> Self:
        """Return the report that `to_json` has written.

        Args:
            text: The JSON. Keys that are not known are ignored.
            path: Where it comes from, for messages.

        Raises:
            ValueError: If it is no JSON, or no such report; with the field.
        """
        what = f"the report of one evaluation, a {cls.__name__}"
        facts = {**_kind(cls), **_FACTS}
        content = json_files.parse(text, facts, path=path, what=what, remedy=_REMEDY)
        needs = cls.needs(content)
        json_files.check(content, needs, path=path, what=what, remedy=_REMEDY)
        return cls(**_facts(content), **cls.read_results(content))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file as JSON. Missing folders are made."""
        files.replace(Path(path), self.to_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the report in a file that `save` or a command has written.

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


def describe_threat_model(threat_model: ThreatModel) -> dict[str, Any]:
    """Return what a threat model allows, ready for JSON."""
    normalize = threat_model.normalize
    return {
        "norm": threat_model.norm,
        "eps": threat_model.eps,
        "eps_text": formatting.fraction(threat_model.eps),
        "bounds": list(threat_model.bounds),
        "normalize": normalize
        and {key: [float(v) for v in normalize[key]] for key in ("mean", "std")},
    }


def read_threat_model(content: Mapping[str, Any]) -> ThreatModel:
    """Return the threat model that `describe_threat_model` has described."""
    normalize: Any = content.get("normalize")
    return ThreatModel(
        norm=content["norm"],
        eps=content["eps"],
        bounds=tuple(content["bounds"]),
        normalize=normalize and {k: tuple(v) for k, v in normalize.items()},
    )


def images(count: int) -> str:
    """Return a number of images in words.

    Examples:
        >>> images(1), images(2000)
        ('1 image', '2,000 images')
    """
    return f"{count:,} {'image' if count == 1 else 'images'}"


def to_marks(flags: Tensor) -> list[Any]:
    """Return flags as 0 and 1, ready for JSON."""
    marks: list[Any] = flags.int().tolist()
    return marks


def to_flags(marks: list[Any]) -> Tensor:
    """Return the flags that `to_marks` has written."""
    return torch.tensor(marks).bool()


def are_marks(part: Any) -> bool:
    """Return whether something is what `to_marks` writes for one or more images."""
    return json_files.is_list(part, _is_mark) and bool(part)


def _is_mark(part: Any) -> bool:
    return json_files.is_number(part) and part in (0, 1)


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    allowed = content.get("threat_model")
    optional = ("batch_size", "device")
    same = ("seed", "warnings", "notes", "versions")
    return {
        "name": content["model"]["name"],
        "model_digest": content["model"]["digest"],
        "data_digest": content["data"]["digest"],
        "threat_model": None if allowed is None else read_threat_model(allowed),
        **{key: content[key] for key in same},
        **{key: content.get(key) for key in optional},
    }


def _is_threat_model(part: Any) -> bool:
    if part is None:
        return True
    try:
        numbers = [part["eps"], *part["bounds"]]
        return all(map(json_files.is_number, numbers)) and bool(read_threat_model(part))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return False


def _are_texts(part: Any) -> bool:
    return json_files.is_list(part, json_files.is_text)


def _has_texts(*keys: str) -> Need:
    return Need(
        lambda part: (
            json_files.has(part, *keys)
            and all(json_files.is_text(part[key]) for key in keys)
        ),
        f"an object with {' and '.join(keys)}",
    )


def _kind(cls: type[Report]) -> Needs:
    return {"kind": Need(lambda part: part == cls.__name__, repr(cls.__name__))}


_REMEDY = "Give what a report was saved to, or evaluate the model again."

_FACTS: Needs = {
    "threat_model": Need(_is_threat_model, "norm, eps and two bounds, or null"),
    "model": _has_texts("name", "digest"),
    "data": _has_texts("digest"),
    "seed": Need(lambda part: type(part) is int, "an integer"),
    "batch_size": Need(lambda part: part is None or type(part) is int, "an integer"),
    "device": Need(lambda part: part is None or json_files.is_text(part), "a text"),
    "warnings": Need(_are_texts, "a list of texts"),
    "notes": Need(_are_texts, "a list of texts"),
    "versions": Need(lambda part: isinstance(part, dict), "an object"),
}
