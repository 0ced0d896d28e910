"""Backbones in and out of files, with a report of every key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from lightly_adv import files
from lightly_adv.models import checkpoint_files, key_layouts
from lightly_adv.models.checkpoint_files import DAMAGED as DAMAGED
from lightly_adv.models.checkpoint_files import State, outline, some
from lightly_adv.models.key_layouts import Fit


@dataclass(frozen=True)
class LoadReport:
    """What happened to the keys of a backbone and of a file.

    Args:
        matched: Keys of the backbone that were loaded.
        missing: Keys of the backbone that the file lacks.
        unexpected: Keys of the file that were not used, such as those of heads.
        prefix: What stood before the keys of the backbone in the file.
        norm: Which of several BatchNorm layers was loaded, as the file names it.

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
    norm: str = ""

    def __str__(self) -> str:
        """Return one line with the counts and the first keys of each kind."""
        total = len(self.matched) + len(self.missing)
        text = f"{len(self.matched)} of {total} tensors loaded"
        if self.prefix:
            text += f" from '{self.prefix}*'"
        if self.norm:
            text += f", BatchNorm from '{self.norm}'"
        if self.missing:
            text += f"; missing: {len(self.missing)} ({some(self.missing)})"
        if self.unexpected:
            count = len(self.unexpected)
            text += f"; unused in the file: {count} ({some(self.unexpected)})"
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
        OSError: If it cannot be written; what was there is there still.
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
    files.replace(path, safetensors.torch.save(state, metadata={"format": "pt"}))


def load_backbone(
    backbone: nn.Module,
    path: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    norm: str | None = None,
    allow_missing: bool = False,
) -> LoadReport:
    """Load a backbone from a file that may hold more than the backbone.

    Reads safetensors, state dicts of `torch.save` and Lightning checkpoints, none of
    which can run code (`weights_only=True`). The weights may lie in dictionaries in
    each other (`net`, `model_ema`, VISSL's `classy_state_dict`) and behind prefixes,
    as in `backbone.conv1.weight` or `model.module.conv1.weight`. Layers may be
    numbered, as from `nn.Sequential(*list(resnet.children())[:-1])`, where those of
    the backbone have names. Counters of BatchNorm layers (`num_batches_tracked`) may
    be missing, as for PyTorch.

    Args:
        backbone: The module to load into.
        path: The file.
        prefix: What stands before the keys, those of dictionaries around them
            included: "teacher.backbone.", or the beginning of it, "teacher.". None
            takes the one behind which the backbone is found.
        norm: Which layers to take where the file has several BatchNorm layers for
            each of the backbone, as after adversarial training with two of them: the
            name that tells them apart, as in "bn_list.1", or its end, "1".
        allow_missing: Accept a file that lacks some keys of the backbone, which then
            keep their values.

    Returns:
        The keys that were loaded, missing and not used. Print it.

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        ValueError: If the file cannot be read safely, if none of its keys fits, if
            shapes differ or further layers are found, as for another architecture,
            if several networks or BatchNorm layers in it fit alike, or if keys are
            missing. The backbone is then left as it was.

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
    found = checkpoint_files.read(path)
    own = backbone.state_dict()
    expected = {key: value for key, value in own.items() if isinstance(value, Tensor)}
    fit = _fit(found, expected, path, prefix=prefix, norm=norm)
    _check_norms(fit, path, norm)
    _check_architecture(fit, found, expected, path)
    lacking = fit.lacking(expected)
    if lacking and not allow_missing:
        raise ValueError(_lacks(lacking, fit, found, expected, path))
    backbone.load_state_dict(
        {**own, **{key: found[source] for key, source in fit.sources.items()}}
    )
    return _report(fit, found, expected)


def _report(fit: Fit, found: State, expected: State) -> LoadReport:
    used = set(fit.sources.values())
    return LoadReport(
        tuple(fit.sources),
        tuple(key for key in expected if key not in fit.sources),
        tuple(key for key in found if key not in used),
        fit.prefix,
        fit.norm,
    )


def _fit(
    found: State,
    expected: State,
    path: Path,
    *,
    prefix: str | None,
    norm: str | None,
) -> Fit:
    """Return the one place in the file where the backbone is."""
    front = f"{prefix.rstrip('.')}." if prefix else ""
    fits: list[Fit] = []
    if prefix is not None:
        fits = [key_layouts.fit(front, found, expected, norm=norm)]
    if prefix != "" and not any(fit.sources for fit in fits):
        inside = {key: value for key, value in found.items() if key.startswith(front)}
        fits = key_layouts.find(inside, expected, norm=norm)
    if not any(fit.sources for fit in fits):
        raise ValueError(_nothing_matches(found, expected, path, prefix))
    best, *others = key_layouts.preferred(fits, found)
    if others and 2 * len(best.sources) < len(expected):
        raise ValueError(_scattered(best, found, expected, path))
    if others:
        every = ", ".join(repr(each.prefix) for each in (best, *others))
        raise ValueError(
            f"{path} holds several networks that fit the backbone, behind {every}; "
            "pass prefix= with the one you want (--model.checkpoint_prefix on the "
            "command line)."
        )
    return best


def _check_norms(fit: Fit, path: Path, norm: str | None) -> None:
    """Refuse to choose among BatchNorm layers."""
    if fit.norms and not fit.norm:
        wrong = f"norm={norm!r} is not one of them" if norm else "pass norm="
        raise ValueError(
            f"{path} has several BatchNorm layers for each of the backbone, named "
            f"{', '.join(map(repr, fit.norms))}; {wrong} (--model.checkpoint_norm on "
            "the command line), for instance that of adversarial images."
        )


def _check_architecture(fit: Fit, found: State, expected: State, path: Path) -> None:
    """Refuse other shapes, and deeper networks whose first layers would all fit."""
    wrong = [
        f"{key} is {tuple(found[fit.sources[key]].shape)} there and "
        f"{tuple(expected[key].shape)} here"
        for key in fit.misfits(found, expected)
    ]
    if wrong:
        part = f"'{fit.prefix}*' in {path}" if fit.prefix else f"{path}"
        raise ValueError(
            f"{part} comes from another architecture: {len(wrong)} tensors differ in "
            f"shape ({some(wrong)}). Create the backbone that it was saved from."
        )
    further = fit.further(found, expected)
    if further:
        raise ValueError(
            f"{path} comes from a deeper architecture, with {len(further)} further "
            f"tensors ({some(further)}). Create the backbone that it was saved from."
        )


def _lacks(
    lacking: Sequence[str], fit: Fit, found: State, expected: State, path: Path
) -> str:
    text = (
        f"{path} lacks {len(lacking)} of the {len(expected)} tensors of the backbone: "
        f"{some(lacking)}. "
    )
    norms = key_layouts.norm_layers(lacking, expected)
    if norms:
        used = set(fit.sources.values())
        left = [key for key in found if key not in used]
        return text + (
            "Without its norm layers a network is of no use. Not used in the file: "
            f"{some(left) or 'nothing'}. Load it into the architecture it was saved "
            "from, or rename its keys."
        )
    return text + (
        "Load it into the architecture it was saved from, or pass allow_missing=True "
        "to keep the values of these."
    )


def _scattered(fit: Fit, found: State, expected: State, path: Path) -> str:
    return (
        f"no more than {len(fit.sources)} of the {len(expected)} tensors of the "
        f"backbone ({some(expected)}) are found together in {path}: its keys are "
        f"{outline(found)}. Create the backbone that the file was saved from."
    )


def _nothing_matches(
    found: State, expected: State, path: Path, prefix: str | None
) -> str:
    behind = f" behind prefix={prefix!r}" if prefix else ""
    return (
        f"none of the {len(found)} tensors in {path} ({outline(found)}) belongs to the "
        f"backbone{behind}, which expects {some(expected)}. Create the backbone that "
        "the file was saved from."
    )
