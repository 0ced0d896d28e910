"""Networks of timm, by name or from an exported folder, and the data for them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from lightly_adv.cli import fractions
from lightly_adv.cli.finetune import check_classes, num_classes_of
from lightly_adv.cli.parser import Parser
from lightly_adv.lightning import pl
from lightly_adv.models import (
    Normalize,
    create_backbone,
    load_backbone,
    normalization_of,
)
from lightly_adv.models.export import load_exported
from lightly_adv.types import NormalizeStats


class TimmNetwork(nn.Module):
    """A network of timm behind its normalisation, from pixels in [0, 1] to logits.

    Args:
        network: The network.
        normalize: Mean and std of its images. None leaves pixels as they are.
    """

    def __init__(self, network: Any, normalize: NormalizeStats | None) -> None:
        super().__init__()
        self.network = network
        self.normalize = nn.Identity() if normalize is None else Normalize(normalize)

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for a network without a classifier."""
        return self.network.num_classes or None

    @property
    def backbone(self) -> nn.Module:
        """A copy of the network without its classifier."""
        backbone = copy.deepcopy(self.network)
        backbone.reset_classifier(0)
        return backbone  # type: ignore[no-any-return]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, or features where there is no classifier."""
        found: Tensor = self.network(self.normalize(pixels))
        return found


def images(
    arguments: Sequence[str], what: object
) -> tuple[pl.LightningDataModule, torch.device]:
    """Return the data that a command line names, and where to compute.

    Args:
        arguments: `--data ...` and, if wanted, `--trainer.accelerator`.
        what: What they are for.

    Raises:
        ValueError: If there are none.
    """
    if not any(argument.split("=")[0] == "--data" for argument in arguments):
        raise ValueError(
            f"{what} comes without images; name them with --data, such as "
            "--data ImageFolderDataModule --data.root PATH."
        )
    parser = Parser(prog="lightly-adv")
    parser.add_lightning_class_args(pl.LightningDataModule, "data", subclass_mode=True)
    parser.add_argument("--trainer.accelerator", default="auto")
    config = parser.parse_with_names(fractions.in_arguments(arguments))
    data: pl.LightningDataModule = parser.instantiate_classes(config).data
    data.prepare_data()
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    return data, trainer.strategy.root_device


def by_name(
    name: str, weights: Path | None, data: pl.LightningDataModule, *, has_head: bool
) -> TimmNetwork:
    """Return a network by its name.

    Args:
        name: A name that timm knows.
        weights: A file of its weights. Defaults to those that timm downloads.
        data: The images that it is for.
        has_head: Whether a classifier is wanted.

    Raises:
        ValueError: If timm does not know the name, if the weights are those of another
            network, or if it has another number of classes than the data.
    """
    if weights is None:
        network = TimmNetwork(*_downloaded(name, has_head=has_head))
    else:
        classes = num_classes_of(data) if has_head else 0
        backbone = create_backbone(name, num_classes=classes)
        load_backbone(backbone, weights)
        network = TimmNetwork(backbone, normalization_of(backbone))
    if network.num_classes is not None:
        check_classes(network.num_classes, name, data)
    return network.eval()


def exported(path: Path, data: pl.LightningDataModule) -> TimmNetwork:
    """Return the network in a folder that `lightly-adv export` has written.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or of another architecture; or if the classes
            are others than those of the data.
    """
    found = load_exported(path)
    network = TimmNetwork(found.model, found.normalize)
    if network.num_classes is not None:
        check_classes(network.num_classes, path, data)
    names = list(getattr(data, "classes", None) or ())
    if names and found.class_names and names != list(found.class_names):
        raise ValueError(
            f"{path} was trained on the classes {list(found.class_names)}, the data "
            f"have {names}; name images of its classes with --data."
        )
    return network.eval()


def _downloaded(name: str, *, has_head: bool) -> tuple[nn.Module, NormalizeStats]:
    head = {} if has_head else {"num_classes": 0}
    if timm.is_model(name) and not timm.is_model_pretrained(name):
        raise ValueError(
            f"timm has no weights for --backbone {name}; give a file with --weights."
        )
    arguments = {"num_classes": None, **head, "pretrained": True}
    try:
        network = create_backbone(name, **arguments)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the weights of --backbone {name} cannot be downloaded ({error}); give a "
            "file with --weights."
        ) from error
    return network, normalization_of(network)
