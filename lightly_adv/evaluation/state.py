"""A file that an evaluation can be taken up from after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightly_adv import files
from lightly_adv.evaluation import state_format
from lightly_adv.evaluation.checks import outputs
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.verdicts import Verdict

KNOWN_BY = 8
"""To how many images the answers of a model are kept."""


class State:
    """The verdicts on the batches that are done, and the checks, in a file.

    The file is replaced as a whole after every batch, so that a kill at any moment
    loses no more than the batch in work.

    Args:
        path: Where the file is, or is to be.
        identity: What tells this evaluation from others, ready for JSON.

    Raises:
        FileNotFoundError: If there is no folder for it.
        ValueError: If the file is no such file, or belongs to another evaluation.

    Examples:
        >>> import tempfile
        >>> flags = {"clean": torch.tensor([True, False])}
        >>> labels, found = torch.tensor([3, 4]), torch.tensor([3, 9])
        >>> verdict = Verdict(flags, False, 10, labels, {"clean": found})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     State(Path(folder, "state"), {"seed": 0}).add(0, "a1b2", verdict)
        ...     again = State(Path(folder, "state"), {"seed": 0}).find(0, "a1b2")
        >>> again.flags["clean"]
        tensor([ True, False])
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path = path
        # As it will be when it is read back: tuples become lists.
        self._identity: dict[str, Any] = json.loads(json.dumps(identity, default=str))
        self._batches: dict[str, dict[str, Any]] = {}
        self._answers: dict[str, list[list[float]] | None] = {}
        self._checks: dict[str, Any] = {"data": "", "found": []}
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"there is no folder {path.parent} for {path.name}."
            )
        if path.exists():
            self._batches = self._read(path)

    def find(self, index: int, digest: str) -> Verdict | None:
        """Return the verdict on a batch, None where it is not known yet.

        Args:
            index: Number of the batch.
            digest: What `digests.of_batch` says of its images and labels.

        Raises:
            ValueError: If the verdict is about other images.
        """
        entry = self._batches.get(str(index))
        if entry is None:
            return None
        if entry["digest"] != digest:
            raise ValueError(
                f"batch {index} does not hold the images that {self._path} was "
                "written for: does the loader shuffle, or has its batch size, its "
                "transform or the data changed? Give it shuffle=False and what it had "
                "before, or delete the file to begin anew."
            )
        flags = {
            name: torch.tensor([mark == "1" for mark in marks])
            for name, marks in entry["flags"]
        }
        predictions = {
            name: torch.tensor(each) for name, each in entry["predictions"].items()
        }
        labels = torch.tensor(entry["labels"])
        return Verdict(
            flags, entry["probabilities"], entry["classes"], labels, predictions
        )

    def add(self, index: int, digest: str, verdict: Verdict) -> None:
        """Write the verdict on a batch."""
        for entry in self._batches.values():
            if [name for name, _ in entry["flags"]] != list(verdict.flags):
                raise ValueError(
                    f"{self._path} holds verdicts under other attacks than "
                    f"{', '.join(verdict.flags)}; delete it to begin anew."
                )
        self._batches[str(index)] = {
            "digest": digest,
            # A list, as the last one is the worst case: tools sort the keys of objects.
            "flags": [
                [name, "".join(str(mark) for mark in flag.int().tolist())]
                for name, flag in verdict.flags.items()
            ],
            "probabilities": verdict.probabilities,
            "classes": verdict.classes,
            "labels": verdict.labels.tolist(),
            "predictions": {
                name: each.tolist() for name, each in verdict.predictions.items()
            },
        }
        self._write()

    def recognise(self, name: str, ask: Callable[[], Tensor]) -> None:
        """Refuse a model that answers otherwise than the one the verdicts are about.

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
            self._answers[name] = first[:KNOWN_BY].tolist() if repeats else None
            return
        known = self._answers[name]
        if known is not None and _differ(torch.tensor(known), ask()[:KNOWN_BY]):
            raise ValueError(
                f"{self._path} belongs to another {name}, which has the same weights "
                "and layers, and gives other logits for the first images: has a mean "
                "that it subtracts, a temperature or its code changed? Give another "
                "file, or delete it to begin anew."
            )

    def find_checks(self, names: Sequence[str], data: str) -> list[Check] | None:
        """Return what these checks found, None where they have not been run.

        Args:
            names: Their names, in the order they are run.
            data: Digest of all images and labels, of which they look at some.
        """
        found = self._checks["found"]
        if self._checks["data"] != data or [x["name"] for x in found] != list(names):
            return None
        return [Check(**each) for each in found]

    def add_checks(self, checks: Iterable[Check], data: str) -> None:
        """Write what the checks found on these images."""
        found = [check.to_dict() for check in checks]
        self._checks = {"data": data, "found": found}
        self._write()

    def _write(self) -> None:
        content = {
            "format": state_format.FORMAT,
            "identity": self._identity,
            "answers": self._answers,
            "batches": self._batches,
            "checks": self._checks,
        }
        files.replace(self._path, json.dumps(content))

    def _read(self, path: Path) -> dict[str, dict[str, Any]]:
        content = state_format.read(path)
        identity = content["identity"]
        batches: dict[str, dict[str, Any]] = content["batches"]
        keys = sorted(identity.keys() | self._identity.keys())
        other = [k for k in keys if identity.get(k) != self._identity.get(k)]
        if other:
            raise ValueError(
                f"{path} belongs to another evaluation, which differs in its "
                f"{', '.join(other)}; give another file, or delete it to begin anew."
            )
        self._answers, self._checks = content["answers"], content["checks"]
        return batches


def _differ(one: Tensor, other: Tensor) -> bool:
    """Return whether answers to the same images differ by more than rounding."""
    if one.shape != other.shape:
        return True
    tolerance = outputs.tolerance(other.dtype)
    return bool((outputs.difference(one, other) > tolerance).any())
