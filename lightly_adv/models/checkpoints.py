"""Backbones in and out of files, with a report of every key."""

from __future__ import annotations

import os
import pickle
import re
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

State = Mapping[str, Tensor]

DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    IndexError,
    OSError,
    RuntimeError,
    struct.error,
    ValueError,
)
"""What torch raises of a file that is cut off; where it is cut decides which."""

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFERRED = ("backbone", "", "model", "module")
_SHOWN = 3


@dataclass(frozen=True)
class LoadReport:
    """What happened to the keys of a backbone and of a file.

    Args:
        matched: Keys of the backbone that were loaded.
        missing: Keys of the backbone that the file lacks.
        unexpected: Keys of the file that were not used, such as those of heads.
        prefix: What stood before the keys of the backbone in the file.

    Examples:
        >>> print(LoadReport(("conv1.weight",), (), ("fc.bias",), prefix="backbone."))
        1 of 1 tensors loaded from 'backbone.*'; unused in the file: 1 (fc.bias)
        >>> print(LoadReport(("conv1.weight",), (), ()))
        1 of 1 tensors loaded
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    prefix: str = ""

    def __str__(self) -> str:
        """Return one line with the counts and the first keys of each kind."""
        total = len(self.matched) + len(self.missing)
        text = f"{len(self.matched)} of {total} tensors loaded"
        if self.prefix:
            text += f" from '{self.prefix}*'"
        if self.missing:
            text += f"; missing: {len(self.missing)} ({_some(self.missing)})"
        if self.unexpected:
            count = len(self.unexpected)
            text += f"; unused in the file: {count} ({_some(self.unexpected)})"
        return text


def save_backbone(
    backbone: nn.Module, path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write the parameters and buffers of a backbone to a safetensors file.

    Args:
        backbone: Any module; the keys are those of its `state_dict`.
        path: A file name that ends in `.safetensors`. Missing folders are made.
        overwrite: Replace a file that is there.

    Raises:
        ValueError: If the name ends in something else.
        FileExistsError: If the file is there and `overwrite` is False.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path={str(path)!r} must end in '.safetensors'.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; choose another name, or pass overwrite=True to replace it."
        )
    # Tied tensors share memory, which the format does not allow: write each one.
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in backbone.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    save_file(state, unfinished, metadata={"format": "pt"})
    unfinished.replace(path)


def load_backbone(
    backbone: nn.Module,
    path: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    allow_missing: bool = False,
) -> LoadReport:
    """Load a backbone from a file that may hold more than the backbone.

    Reads safetensors, state dicts of `torch.save` and Lightning checkpoints, none of
    which can run code (`weights_only=True`). The keys may stand behind a prefix, as
    in `backbone.conv1.weight` or `model.module.conv1.weight`.

    Args:
        backbone: The module to load into.
        path: The file.
        prefix: What stands before the keys, with its final dot. None takes the prefix
            behind which most keys are found.
        allow_missing: Accept a file that lacks some keys of the backbone, which then
            keep their values.

    Returns:
        The keys that were loaded, missing and not used. Print it.

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        ValueError: If the file cannot be read safely, if none of its keys fits, if
            shapes differ or further layers are found, as for another architecture,
            if several networks in it fit alike, or if keys are missing. The backbone
            is then left as it was.

    Examples:
        >>> import tempfile
        >>> from lightly_adv.models import create_backbone
        >>> backbone = create_backbone("resnet8_tiny")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_backbone(backbone, f"{folder}/backbone.safetensors")
        ...     print(load_backbone(backbone, f"{folder}/backbone.safetensors"))
        54 of 54 tensors loaded
    """
    path = Path(path)
    found = _read(path)
    expected = backbone.state_dict()
    if prefix is None:
        prefix = _find_prefix(found, expected, path)
    state = {
        key[len(prefix) :]: value
        for key, value in found.items()
        if key.startswith(prefix)
    }
    matched = {key: value for key, value in state.items() if key in expected}
    if not matched:
        raise ValueError(_nothing_matches(found, expected, path))
    _check_shapes(matched, expected, source=f"'{prefix}*' in {path}")
    _check_depth(state, expected, path)
    missing = tuple(key for key in expected if key not in matched)
    if missing and not allow_missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the {len(expected)} tensors of the "
            f"backbone: {_some(missing)}. Load it into the architecture it was saved "
            "from, or pass allow_missing=True to keep the values of these."
        )
    backbone.load_state_dict(matched, strict=False)
    used = {prefix + key for key in matched}
    unexpected = tuple(key for key in found if key not in used)
    return LoadReport(tuple(matched), missing, unexpected, prefix)


def _read(path: Path) -> State:
    """Return the tensors in a file, whatever its format, without running code."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}.")
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    else:
        content = _read_torch(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected a state dict, as "
            "torch.save(model.state_dict(), path) writes it."
        )
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _read_safetensors(path: Path) -> State:
    try:
        tensors: State = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}.") from error
    return tensors


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except DAMAGED as error:
        reason = str(error).strip().splitlines()
        named = re.search(r"GLOBAL (\S+)", str(error))
        cause = f"an object of {named[1]}" if named else (reason or ["no data"])[0]
        raise ValueError(
            f"{path} cannot be read with weights_only=True ({cause}). Files that hold "
            "objects other than tensors can run code when they are opened. If you "
            "trust it, open it where it was written and save the weights alone: "
            "torch.save(model.state_dict(), path)."
        ) from error


def _find_prefix(found: State, expected: State, path: Path) -> str:
    """Return the prefix behind which most keys of the backbone are found."""
    counts = Counter(
        prefix for key in found for prefix, rest in _splits(key) if rest in expected
    )
    if not counts:
        raise ValueError(_nothing_matches(found, expected, path))
    most = max(counts.values())
    ranked = sorted((_rank(p), p) for p, count in counts.items() if count == most)
    best, *others = ranked
    if others and others[0][0] == best[0]:
        raise ValueError(
            f"{path} holds several networks that fit the backbone, behind "
            f"{', '.join(repr(candidate) for _, candidate in ranked)}; pass prefix= "
            "with the one you want."
        )
    return best[1]


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """Split a key in two at every dot; the first part keeps its dot, or is empty."""
    yield "", key
    for dot in re.finditer(r"\.", key):
        yield key[: dot.end()], key[dot.end() :]


def _rank(prefix: str) -> int:
    """Prefer `backbone.` to `backbone_momentum.`, and usual names to others."""
    last = prefix.removesuffix(".").rpartition(".")[2]
    return _PREFERRED.index(last) if last in _PREFERRED else len(_PREFERRED)


def _check_shapes(matched: State, expected: State, *, source: str) -> None:
    wrong = [
        f"{key} is {tuple(value.shape)} there and {tuple(expected[key].shape)} here"
        for key, value in matched.items()
        if value.shape != expected[key].shape
    ]
    if wrong:
        raise ValueError(
            f"{source} comes from another architecture: {len(wrong)} tensors differ in "
            f"shape ({_some(wrong)}). Create the backbone that it was saved from."
        )


def _check_depth(state: State, expected: State, path: Path) -> None:
    """Refuse a deeper network of the same kind, whose first layers would all fit."""
    layers = {_without_indices(key) for key in expected}
    further = [
        key for key in state if key not in expected and _without_indices(key) in layers
    ]
    if further:
        raise ValueError(
            f"{path} comes from a deeper architecture, with {len(further)} further "
            f"tensors ({_some(further)}). Create the backbone that it was saved from."
        )


def _without_indices(key: str) -> str:
    """Replace the numbers of layers by a star, but for one that opens the key."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", key)


def _nothing_matches(found: State, expected: State, path: Path) -> str:
    return (
        f"none of the {len(found)} tensors in {path} ({_some(found)}) belongs to the "
        f"backbone, which expects {_some(expected)}. Create the backbone that the "
        "file was saved from."
    )


def _some(keys: Collection[str]) -> str:
    first = ", ".join(list(keys)[:_SHOWN])
    return first + (", ..." if len(keys) > _SHOWN else "")
