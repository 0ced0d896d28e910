"""Networks to evaluate, with the images that they are evaluated on."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import nn

from lightly_adv.cli import checkpoints, timm_networks
from lightly_adv.cli.finetune import FinetuneCLI, check_classes, load_weights
from lightly_adv.cli.pretrain import PretrainCLI
from lightly_adv.cli.run_folder import RunFolder
from lightly_adv.cli.timm_networks import TimmNetwork
from lightly_adv.cli.training import TrainingCLI
from lightly_adv.evaluation import digests, formatting
from lightly_adv.lightning import pl
from lightly_adv.models.export.folder import CONFIG, WEIGHTS
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm

USUAL_EPS: dict[Norm, str] = {"Linf": "8/255", "L2": "0.5", "L1": "12"}
"""What most papers attack CIFAR-10 with."""


@dataclass(frozen=True)
class Network:
    """A network, the images it is evaluated on, and where it comes from.

    Args:
        name: What reports call it.
        weights: The file of its weights, or the name of what timm has downloaded.
        folder: Where reports on it are written.
        module: A classifier that takes pixels, or another LightningModule.
        data: The images.
        device: Where to compute.
        num_classes: Number of classes; None for a network that is no classifier.
        threat_model: What the attacks may do unless something else is asked for.
    """

    name: str
    weights: Path
    folder: Path
    module: nn.Module
    data: pl.LightningDataModule
    device: torch.device
    num_classes: int | None
    threat_model: ThreatModel

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the classes, if the data have them."""
        return getattr(self.data, "classes", None)


def collect(
    paths: Sequence[Path],
    others: Sequence[str],
    *,
    backbone: str | None = None,
    weights: Path | None = None,
    has_head: bool = True,
) -> list[Network]:
    """Return the networks that a command line names.

    Args:
        paths: Checkpoints, folders of runs, and folders that were exported.
        others: Further options of the runs, which change the data; for other networks,
            those of the data.
        backbone: The name of a network of timm, instead of paths.
        weights: A file of its weights.
        has_head: Whether this is to be a classifier.

    Raises:
        FileNotFoundError: If there is nothing of that kind.
        ValueError: If there are none, or both kinds, or if files are damaged or do not
            fit the data.
    """
    if backbone is not None and paths:
        raise ValueError(
            f"--backbone {backbone} and {paths[0]} are given at once; give the name of "
            "a network of timm, or what was trained here, not both."
        )
    if backbone is None and weights is not None:
        raise ValueError(
            f"--weights {weights} are of an unknown network; say of which one with "
            "--backbone, such as --backbone resnet18."
        )
    if backbone is not None:
        data, device = timm_networks.images(others, f"--backbone {backbone}")
        network = timm_networks.by_name(backbone, weights, data, has_head=has_head)
        return [_outside(backbone, weights or Path(backbone), network, data, device)]
    if not paths:
        raise ValueError(
            "there is no network to evaluate; give the folder of a run, a checkpoint "
            "or an exported folder, or --backbone NAME."
        )
    check_once(paths)
    found: list[Network] = []
    for path in paths:
        check_is_path(path)
        found.append(restore(path, others, like=found[0] if found else None))
    return found


def restore(
    path: Path, others: Sequence[str], *, like: Network | None = None
) -> Network:
    """Return a network that was trained, its weights and its data.

    Args:
        path: A checkpoint in the folder of its run; this folder, which means its
            last checkpoint; or a folder that was exported.
        others: Further options of that run, which change the data; for an exported
            network, those of the data.
        like: A network whose data are taken for an exported one if `others` have none.

    Raises:
        FileNotFoundError: If there is nothing of that kind.
        ValueError: If files are damaged, or if the network was trained on another
            number of classes than the data have.
    """
    if not (path / CONFIG).is_file() or (path / "config.yaml").is_file():
        return _of_run(path, others)
    if like is None or any(each.startswith("--data") for each in others):
        data, device = timm_networks.images(others, path)
    else:
        data, device = like.data, like.device
    network = timm_networks.exported(path, data)
    return _outside(path.resolve().name, path / WEIGHTS, network, data, device)


def _outside(
    name: str,
    weights: Path,
    network: TimmNetwork,
    data: pl.LightningDataModule,
    device: torch.device,
) -> Network:
    """Return a network that does not lie in a run."""
    return Network(
        name=name,
        weights=weights,
        folder=Path("runs") / re.sub(r"[^\w.]+", "-", name),
        module=network,
        data=data,
        device=device,
        num_classes=network.num_classes,
        threat_model=ThreatModel(),
    )


def _of_run(path: Path, others: Sequence[str]) -> Network:
    """Return the network of a run, its weights and its data."""
    checkpoint = RunFolder(path).last_checkpoint if path.is_dir() else path
    folder = RunFolder.of_checkpoint(checkpoint)
    config, out = str(folder.path / "config.yaml"), str(folder.path)
    arguments = ["--config", config, *others, "--out", out]
    arguments += ["--ckpt_path", str(checkpoint)]
    cli: TrainingCLI
    classes: int | None = None
    if folder.command() == "finetune":
        # What the backbone was loaded from may be gone, and is in the weights anyway.
        cli = FinetuneCLI([*arguments, "--config", "model: {checkpoint: null}"])
        classes = cli.model.num_classes
        bias = checkpoints.read(checkpoint, mmap=True)["state_dict"].get("head.bias")
        # Without one, it is refused key by key when it is loaded.
        if bias is not None:
            check_classes(len(bias), checkpoint, cli.datamodule)
    else:
        cli = PretrainCLI(arguments)
    load_weights(cli.model, checkpoint)
    return Network(
        name=checkpoint.stem,
        weights=checkpoint,
        folder=folder.path,
        module=cli.model,
        data=cli.datamodule,
        device=cli.trainer.strategy.root_device,
        num_classes=classes,
        threat_model=cli.threat_model,
    )


def check_is_path(path: Path) -> None:
    """Refuse the name of a network of timm where a path is expected.

    Raises:
        FileNotFoundError: If there is no such path, but a network of that name.
    """
    if not path.exists() and timm.is_model(str(path)):
        raise FileNotFoundError(
            f"there is no checkpoint at {path}, but timm has a network of this name; "
            f"give it as --backbone {path}, or the folder of a run."
        )


def check_once(paths: Sequence[Path]) -> None:
    """Refuse a list of files that names one of them twice."""
    files = [path.resolve() for path in paths]
    twice = [path for path, f in zip(paths, files, strict=True) if files.count(f) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given twice; each member counts once.")


def check_classifiers(networks: Sequence[Network]) -> None:
    """Refuse what is no classifier, and classifiers of different classes.

    Raises:
        ValueError: If there is one.
    """
    for network in networks:
        if network.num_classes is None:
            raise ValueError(
                f"{network.weights} is a pre-trained {type(network.module).__name__}, "
                "which has no classifier; expected a checkpoint of lightly-adv "
                "finetune. lightly-adv encoder measures its backbone."
            )
    if len({network.num_classes for network in networks}) > 1:
        counts = ", ".join(f"{each.weights} {each.num_classes}" for each in networks)
        raise ValueError(
            f"the checkpoints have different numbers of classes ({counts}); expected "
            "classifiers of the same classes."
        )
    named = [each for each in networks if each.class_names]
    for first, other in itertools.pairwise(named):
        if other.class_names != first.class_names:
            raise ValueError(
                f"{first.weights} was trained on the classes {first.class_names}, "
                f"{other.weights} on {other.class_names}; expected classifiers of the "
                "same classes."
            )


def sha256_of(networks: Iterable[Network]) -> dict[str, str]:
    """Return the SHA-256 of the weights by their path, for reports."""
    files = [each.weights for each in networks if each.weights.is_file()]
    return {str(path): digests.of_file(path) for path in files}


def threat_model(
    networks: Iterable[Network], *, norm: Norm | None, eps: float | None
) -> ThreatModel:
    """Return the threat model of the runs, with the norm and radius that were given.

    Args:
        networks: The networks to attack.
        norm: The norm. Defaults to that of the runs.
        eps: The radius in pixels. Defaults to that of the runs.

    Raises:
        ValueError: If the runs differ in what is not given, or if the norm is
            another than that of a run and there is no radius for it.
    """
    balls = [_asked(each.threat_model, norm=norm, eps=eps) for each in networks]
    if any(ball != balls[0] for ball in balls):
        names = ", ".join(formatting.ball(ball) for ball in balls)
        raise ValueError(
            f"the runs of the checkpoints have different threat models ({names}); say "
            "which one to use with --norm and --eps."
        )
    return balls[0]


def _asked(
    trained: ThreatModel, *, norm: Norm | None, eps: float | None
) -> ThreatModel:
    if norm is not None and norm != trained.norm and eps is None:
        raise ValueError(
            f"--norm {norm} is not that of the run, {formatting.ball(trained)}, whose "
            f"eps is another distance in {norm}; give --eps, too, such as "
            f"{USUAL_EPS[norm]}, which is usual in {norm} for images of 32 x 32."
        )
    radius = trained.eps if eps is None else eps
    return dataclasses.replace(trained, norm=norm or trained.norm, eps=radius)
