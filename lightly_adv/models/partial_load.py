"""Loading a pre-trained backbone, or all of it but the last stage."""

from __future__ import annotations

import dataclasses
import os
from typing import Literal, TypeAlias, get_args

from torch import nn

from lightly_adv.functional import validation
from lightly_adv.models import checkpoints, stages
from lightly_adv.models.checkpoints import LoadReport

LoadChoice: TypeAlias = Literal["all", "trunk"]
"""Everything, or everything but the last stage."""


def load_partially(
    backbone: nn.Module,
    path: str | os.PathLike[str],
    load: LoadChoice,
    *,
    prefix: str | None = None,
    norm: str | None = None,
) -> LoadReport:
    """Load a backbone, or all but its last stage.

    Args:
        backbone: The module to load into.
        path: The file, see `models.load_backbone`.
        load: What to take. For "trunk" the file may lack the last stage; if it is
            there, it is not used.
        prefix: As for `models.load_backbone`, to choose among several networks.
        norm: The same, to choose among several BatchNorm layers.

    Returns:
        What was loaded. Tensors of a last stage that is not loaded are missing, and, as
        far as the file has them, unexpected.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the name is unknown, if the backbone does not tell its last
            stage, or for the reasons of `models.load_backbone`.

    Examples:
        >>> import tempfile
        >>> from lightly_adv.models import create_backbone, save_backbone
        >>> backbone = create_backbone("resnet8_tiny")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_backbone(backbone, f"{folder}/backbone.safetensors")
        ...     report = load_partially(
        ...         backbone, f"{folder}/backbone.safetensors", "trunk"
        ...     )
        >>> len(report.matched), report.missing[0]
        (36, 'layer3.0.conv1.weight')
    """
    check_load(load)
    if load == "all":
        return checkpoints.load_backbone(backbone, path, prefix=prefix, norm=norm)
    renewed = tuple(f"{name}." for name in stages.last_stage(backbone))
    state = backbone.state_dict()
    before = {key: value.clone() for key, value in state.items()}
    report = checkpoints.load_backbone(
        backbone, path, prefix=prefix, norm=norm, allow_missing=True
    )
    lacking = [key for key in report.missing if not key.startswith(renewed)]
    initial = (
        before
        if lacking
        else {k: v for k, v in before.items() if k.startswith(renewed)}
    )
    backbone.load_state_dict({**backbone.state_dict(), **initial})
    if lacking:
        raise ValueError(
            f"{os.fspath(path)} lacks {len(lacking)} tensors of the trunk of the "
            f"backbone, such as {lacking[0]}; only those of the last stage may be "
            "missing. Load it into the architecture it was saved from."
        )
    there = tuple(key for key in report.matched if key.startswith(renewed))
    return dataclasses.replace(
        report,
        matched=tuple(key for key in report.matched if key not in there),
        missing=tuple(initial),
        unexpected=report.unexpected + tuple(report.prefix + key for key in there),
    )


def check_load(load: str) -> None:
    """Check what is to be loaded.

    Raises:
        ValueError: If it is unknown.
    """
    validation.check_choice("load", load, get_args(LoadChoice))
