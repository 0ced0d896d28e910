"""State file for resuming an interrupted evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lightly_adv import files, json_files
from lightly_adv.evaluation import encoding
from lightly_adv.evaluation.batches import BatchResult
from lightly_adv.evaluation.checks import outputs
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.encoding import Numbers

FORMAT = 6
"""6 holds the results of every evaluation in the same way."""

KNOWN_BY = 8
"""To how many images the answers of a model are kept."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One batch: the digest of its images and labels, and what became of them."""

    digest: str
    result: BatchResult


@dataclass(frozen=True, eq=False)
class Checks:
    """What the checks found on the data of this digest."""

    data: str = ""
    found: list[Check] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Content:
    """All that a state file holds, besides its format and identity."""

    answers: dict[str, Numbers | None] = field(default_factory=dict)
    batches: dict[str, Entry] = field(default_factory=dict)
    checks: Checks = field(default_factory=Checks)

    def __post_init__(self) -> None:
        """Validate the arguments."""
        names = {
            (frozenset(entry.result.flags), frozenset(entry.result.values))
            for entry in self.batches.values()
        }
        if len(names) > 1 or not all(map(str.isdecimal, self.batches)):
            raise ValueError("expected the same results for each numbered batch")
        if any(each is not None and each.dim() != 2 for each in self.answers.values()):
            raise ValueError("expected answers of shape (B, C)")


class State:
    """The results of the batches that are done, and the checks, in a file.

    The file is replaced as a whole after every batch, so that a kill at any moment
    loses no more than the batch in work.

    Args:
        path: Where the file is, or is to be.
        identity: What tells this evaluation from others, ready for JSON.

    Raises:
        FileNotFoundError: If there is no folder for it.
        ValueError: If the file is no such file, or belongs to another evaluation.

    Examples:
        >>> import tempfile, torch
        >>> result = BatchResult({"clean": torch.tensor([True, False])})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     State(Path(folder, "state"), {"seed": 0}).add(0, "a1b2", result)
        ...     again = State(Path(folder, "state"), {"seed": 0}).find(0, "a1b2")
        >>> again.flags["clean"]
        tensor([ True, False])
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path = path
        # As it will be when it is read back: tuples become lists.
        self._identity: dict[str, Any] = json.loads(json.dumps(identity, default=str))
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"there is no folder {path.parent} for {path.name}."
            )
        content = self._read() if path.exists() else Content()
        self._answers, self._batches = dict(content.answers), dict(content.batches)
        self._checks = content.checks

    def find(self, index: int, digest: str) -> BatchResult | None:
        """Return the result of a batch, None where it is not known yet.

        Args:
            index: Number of the batch.
            digest: What `digests.of_batch` says of its images and labels.

        Raises:
            ValueError: If the result is about other images.
        """
        entry = self._batches.get(str(index))
        if entry is None:
            return None
        if entry.digest != digest:
            raise ValueError(
                f"batch {index} does not hold the images that {self._path} was "
                "written for: does the loader shuffle, or has its batch size, its "
                "transform or the data changed? Give it shuffle=False and what it had "
                "before, or delete the file to start from scratch."
            )
        return entry.result

    def add(self, index: int, digest: str, result: BatchResult) -> None:
        """Write the result of a batch."""
        for entry in self._batches.values():
            if entry.result.flags.keys() != result.flags.keys():
                raise ValueError(
                    f"{self._path} holds results under other attacks than "
                    f"{', '.join(result.flags)}; delete it to start from scratch."
                )
        self._batches[str(index)] = Entry(digest, result)
        self._write()

    def recognise(self, name: str, ask: Callable[[], Tensor]) -> None:
        """Refuse a model that answers otherwise than the one the results are about.

        The identity knows its weights and layers, not what else it does with an image.

        Args:
            name: What the model is in this evaluation.
            ask: Returns its answers to the first batch, (B, C) on the CPU, with the
                global random states seeded alike in every call.

        Raises:
            ValueError: If it is another model.
        """
        if name not in self._answers:
            first, again = ask(), ask()
            # One that draws numbers of its own is not known by its answers.
            repeats = not _differ(first, again)
            self._answers[name] = first[:KNOWN_BY] if repeats else None
            return
        known = self._answers[name]
        if known is not None and _differ(known, ask()[:KNOWN_BY]):
            raise ValueError(
                f"{self._path} belongs to another {name}, which has the same weights "
                "and layers, and gives other outputs for the first images: has a mean "
                "that it subtracts, a temperature or its code changed? Give another "
                "file, or delete it to start from scratch."
            )

    def find_checks(self, names: Sequence[str], data: str) -> list[Check] | None:
        """Return what these checks found, None where they have not been run.

        Args:
            names: Their names, in the order they are run.
            data: Digest of all images and labels, of which they look at some.
        """
        found = self._checks.found
        if self._checks.data != data or [x.name for x in found] != list(names):
            return None
        return found

    def add_checks(self, checks: Iterable[Check], data: str) -> None:
        """Write what the checks found on these images."""
        self._checks = Checks(data, list(checks))
        self._write()

    def _write(self) -> None:
        content = {
            "format": FORMAT,
            "identity": self._identity,
            **encoding.encode(Content(self._answers, self._batches, self._checks)),
        }
        files.replace(self._path, json.dumps(content, separators=(",", ":")))

    def _read(self) -> Content:
        content = json_files.read(self._path, {}, what=_WHAT, remedy=_REMEDY)
        version, identity = content.get("format"), content.get("identity")
        if type(version) is not int or not isinstance(identity, dict):
            raise ValueError(f"{self._path} is not {_WHAT}. {_REMEDY}")
        if version != FORMAT:
            raise ValueError(
                f"{self._path} has format {version}, expected {FORMAT}: another version"
                " of lightly-adv wrote it. Go on with that version, or delete the file "
                "to start from scratch."
            )
        keys = sorted(identity.keys() | self._identity.keys())
        other = [k for k in keys if identity.get(k) != self._identity.get(k)]
        if other:
            raise ValueError(
                f"{self._path} belongs to another evaluation, which differs in its "
                f"{', '.join(other)}; give another file, or delete it to start from "
                "scratch."
            )
        try:
            decoded: Content = encoding.decode(Content, content)
        except ValueError as error:
            raise ValueError(
                f"{self._path} is not {_WHAT}: {error}. {_REMEDY}"
            ) from error
        return decoded


def _differ(one: Tensor, other: Tensor) -> bool:
    """Return whether answers to the same images differ by more than rounding."""
    if one.shape != other.shape:
        return True
    tolerance = outputs.tolerance(other.dtype)
    return bool((outputs.difference(one, other) > tolerance).any())


_WHAT = "the state of an evaluation"
_REMEDY = "Delete it to start from scratch, or give another file."
