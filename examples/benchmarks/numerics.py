"""Print digests of what attacks and trainings give at fixed seeds.

Run it before and after a change that must not touch numbers, on the same machine, and
compare the outputs: every line is the SHA-256 of tensors, byte for byte.

    python examples/benchmarks/numerics.py
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightly_adv import (
    APGD,
    FGSM,
    PGD,
    AdversarialLoss,
    AdversarialTraining,
    ThreatModel,
    evaluate_robustness,
)
from lightly_adv.attacks import Attack, AttackSchedule
from lightly_adv.methods import PretextEnsembleModule, PretextModule

EPS = {"Linf": 8 / 255, "L2": 0.5, "L1": 5.0}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def digest(tensors: Iterable[Tensor]) -> str:
    """Return the first 16 digits of the SHA-256 of tensors."""
    found = hashlib.sha256()
    for each in tensors:
        found.update(each.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def network(outputs: int = 8) -> nn.Sequential:
    """Return a small network with BatchNorm and Dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, outputs),
    )


class TwoViews(pl.LightningModule):
    """The smallest contrastive module."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return one minus the similarity of two views, with a spread."""
        first, second = (nn.functional.normalize(self.net(view)) for view in batch)
        return nn.functional.cross_entropy(
            first @ second.T / 0.5, torch.arange(len(first))
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def images(count: int = 8) -> Tensor:
    """Return random images of shape (count, 3, 32, 32)."""
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def attacks() -> dict[str, Attack]:
    """Return attacks by name, of every norm, on pixels and normalised."""
    found: dict[str, Attack] = {}
    for norm, eps in EPS.items():
        model = ThreatModel(norm=norm, eps=eps)  # type: ignore[arg-type]
        found[f"PGD {norm}"] = PGD(model, steps=4, restarts=2)
        if norm != "L1":
            found[f"APGD {norm}"] = APGD(model, steps=10)
    found["FGSM Linf"] = FGSM(ThreatModel(eps=EPS["Linf"]))
    found["PGD Linf normalised"] = PGD(ThreatModel(eps=8 / 255, normalize=IMAGENET))
    return found


def attacked(attack: Attack) -> str:
    """Return the digest of perturbed images and of the gradients used."""
    views = images()
    if attack.threat_model.normalize:
        mean, std = (torch.tensor(each)[:, None, None] for each in IMAGENET.values())
        views = (views - mean) / std
    net = network().eval()
    labels = torch.arange(8) % 8

    def losses(views: list[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(net(views[0]), labels, reduction="none")

    generator = torch.Generator().manual_seed(2)
    return digest(attack(losses, [views], generator=generator))  # type: ignore[arg-type]


def fitted(module: pl.LightningModule, data: object, *callbacks: pl.Callback) -> str:
    """Return the digest of a module's state after one short epoch."""
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, DataLoader(data, batch_size=8))  # type: ignore[arg-type]
    return digest(module.state_dict().values())


def callback(**options: object) -> str:
    """Return the digest of a training with the callback."""
    pl.seed_everything(0, verbose=False)
    attack = AttackSchedule(PGD(ThreatModel(eps=8 / 255), steps=2), ramp=0.5)
    pairs = list(zip(images(24), images(24).flip(-1), strict=True))
    found = AdversarialTraining(attack, verify="off", **options)  # type: ignore[arg-type]
    return fitted(TwoViews(), pairs, found)


def swapped() -> str:
    """Return the digest of the gradient of the swapped loss."""
    pl.seed_everything(0, verbose=False)
    net = network()

    class Similarity(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return -nn.functional.cosine_similarity(first, second).mean()

    attack = PGD(ThreatModel(eps=8 / 255), steps=2)
    criterion = AdversarialLoss(Similarity(), attack, mode="dual")
    criterion(net, (images(), images().flip(-1))).backward()
    return digest(each.grad for each in net.parameters() if each.grad is not None)


def pretext(name: str, **options: object) -> str:
    """Return the digest of a training on a pretext task."""
    pl.seed_everything(0, verbose=False)
    attack = PGD(ThreatModel(eps=8 / 255), steps=2)
    common = {"backbone": "resnet8_tiny", "attack": attack}
    if name == "ensemble":
        module: pl.LightningModule = PretextEnsembleModule(
            ("rotation", "jigsaw", "selfie"),
            diversity_weight=0.1,
            **common,  # type: ignore[arg-type]
        )
    else:
        module = PretextModule(name, **common, **options)  # type: ignore[arg-type]
    labelled = [(image, 0) for image in images(16)]
    return fitted(module, labelled)


def classifier(**options: object) -> str:
    """Return the digest of a fine-tuning."""
    try:
        from lightly_adv.methods import RobustClassifier
    except ImportError:  # where it was once
        from lightly_adv.methods import RobustClassifier
    pl.seed_everything(0, verbose=False)
    attack = PGD(ThreatModel(eps=8 / 255), steps=2)
    module = RobustClassifier("resnet8_tiny", num_classes=4, attack=attack, **options)
    return fitted(module, [(image, i % 4) for i, image in enumerate(images(16))])


def evaluated(suite: str) -> str:
    """Return the digest of the flags and the accuracies of a suite."""
    net = network(4).eval()
    data = images(16)
    labels = net(data).argmax(dim=1)
    model = ThreatModel(eps=2 / 255)
    report = evaluate_robustness(net, [(data, labels)], model, suite=suite, checks=[])
    flags = [torch.tensor(list(each)) for each in report.flags.values()]
    return digest([*flags, torch.tensor(report.robust_accuracy)])


def lines() -> Mapping[str, Callable[[], str]]:
    """Return what is digested, by name."""
    found: dict[str, Callable[[], str]] = {
        name: lambda attack=attack: attacked(attack)  # type: ignore[misc]
        for name, attack in attacks().items()
    }
    for mode in ("replace", "dual"):
        for bn_mode in ("eval", "batch", "train"):
            found[f"callback {mode} {bn_mode}"] = lambda m=mode, b=bn_mode: callback(  # type: ignore[misc]
                mode=m, bn_mode=b
            )
    found["swapped loss"] = swapped
    for task in ("rotation", "jigsaw", "selfie", "ensemble"):
        found[f"pretext {task}"] = lambda task=task: pretext(task)  # type: ignore[misc]
    found["fine-tuning all"] = lambda: classifier(trainable="all")
    found["fine-tuning head"] = lambda: classifier(trainable="head")
    for suite in ("smoke", "pgd-20", "apgd", "autoattack-standard"):
        found[f"suite {suite}"] = lambda suite=suite: evaluated(suite)  # type: ignore[misc]
    return found


def main() -> None:
    """Print one line for each."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for name, compute in lines().items():
        print(f"{name:30}{compute()}", flush=True)


if __name__ == "__main__":
    main()
