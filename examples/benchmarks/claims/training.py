"""Pre-training and fine-tuning of one seed, and attacks on what comes out."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from claims.settings import (
    ENSEMBLE,
    Arm,
    Settings,
    attack_of,
    pretraining_of,
    threat_model_of,
    write,
)
from claims.simclr import SimCLR
from lightly_adv import AdversarialTraining
from lightly_adv.attacks import AttackSchedule
from lightly_adv.callbacks import RobustValidation
from lightly_adv.data import ImageFolderDataModule
from lightly_adv.data.image_dataset import Images
from lightly_adv.evaluation import Suite, create_suite, evaluate_robustness
from lightly_adv.methods import PretextEnsembleModule, PretextModule, RobustClassifier
from lightly_adv.methods.fit import fit
from lightly_adv.models import create_backbone, save_backbone
from lightly_adv.models.ensemble import Ensemble
from lightly_adv.pretext import create_pretext_task
from lightly_adv.training.optimizers import OneCycleSGD


def pretrain(
    settings: Settings, root: Path, path: Path, *, arm: Arm, seed: int
) -> None:
    """Train a backbone without labels; write it and its cost."""
    chosen = pretraining_of(settings, arm)
    data = data_module(settings, root, seed, chosen)
    pl.seed_everything(seed, verbose=False)
    module, callbacks = pretraining_module(settings, arm)
    epochs = chosen["epochs"]
    training = fit(module, data.train_dataloader(), epochs=epochs, callbacks=callbacks)
    save_backbone(module.backbone, path.with_suffix(".safetensors"), overwrite=True)
    logged = training.trainer.callback_metrics.items()
    result = {
        "epochs": epochs,
        "passes": epochs * _images_of(data) * passes_of(settings, arm),
        "seconds": training.seconds,
        "logged": {name: float(value) for name, value in logged},
    }
    write(path, result)


def finetune(
    settings: Settings,
    root: Path,
    path: Path,
    *,
    backbone: Path | None,
    protocol: str,
    lr: float,
    factor: int,
    seed: int,
) -> None:
    """Train a classifier on the labels of a seed; write it and its history.

    Args:
        settings: See `settings.read`.
        root: Folder of the images.
        path: Where the result goes; the weights are beside it.
        backbone: Weights of the pre-trained backbone; None for scratch.
        protocol: "SLF", "ALF" or "AFF".
        lr: Highest learning rate.
        factor: How many times the epochs of the protocol.
        seed: Chooses labelled and validation images, initial weights, order and
            noise.
    """
    chosen = settings["finetuning"]
    how = chosen["protocols"][protocol]
    data = data_module(settings, root, seed, chosen)
    pl.seed_everything(seed, verbose=False)
    classifier = new_classifier(settings, data.num_classes, protocol, backbone, lr)
    suite = create_suite("pgd", **settings["evaluation"]["validation"])
    validation = RobustValidation(threat_model_of(settings), suite=suite)
    epochs = factor * how["epochs"]
    training = fit(
        classifier,
        data.train_dataloader(),
        data_module(settings, root, seed, settings["evaluation"]).val_dataloader(),
        epochs=epochs,
        callbacks=[validation],
        check_val_every_n_epoch=how["val_every"],
    )
    torch.save(classifier.state_dict(), path.with_suffix(".pt"))
    passes_per_epoch = _images_of(data) * finetuning_passes_of(settings, protocol)
    result = {
        "epochs": epochs,
        "passes_per_epoch": passes_per_epoch,
        "passes": epochs * passes_per_epoch,
        "seconds": training.seconds,
        "val_clean": [logged["val_top1"] for logged in training.validations],
        "val_robust": [logged["val_robust_top1"] for logged in training.validations],
    }
    write(path, result)


def test(
    settings: Settings,
    root: Path,
    path: Path,
    *,
    members: list[tuple[Path, str]],
    suite: dict[str, Any],
    seed: int,
) -> None:
    """Attack a classifier, or an ensemble of several, on the test images.

    Args:
        settings: See `settings.read`.
        root: Folder of the images.
        path: Where the report goes.
        members: Weights and protocol of each classifier.
        suite: Name and options of the suite; `every: 10` takes each tenth image.
        seed: Of the data, and of the noise.
    """
    data = data_module(settings, root, seed, settings["evaluation"])
    # The images lie class by class: the first ones would be of a few classes.
    images = torch.arange(0, len(data.test_dataset), suite.get("every", 1))
    batches = images.split(data.batch_size)
    models = []
    for weights, protocol in members:
        model = new_classifier(settings, data.num_classes, protocol, None, lr=0.1)
        model.load_state_dict(torch.load(weights, weights_only=True))
        models.append(model)
    model = models[0] if len(models) == 1 else Ensemble(models)
    loader = [data.test_dataset.__getitems__(batch.tolist()) for batch in batches]
    started = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    report = evaluate_robustness(
        model,
        loader,
        threat_model_of(settings),
        suite=suite_of(suite),
        seed=seed,
        device=device,
    )
    flags = {
        "clean": report.flags["clean"].int().tolist(),
        "robust": report.flags[list(report.flags)[-1]].int().tolist(),
    }
    result = {**report.row(), "warnings": report.warnings, "flags": flags}
    write(path, result | {"seconds": time.perf_counter() - started})


def suite_of(chosen: dict[str, Any]) -> Suite:
    """Return the suite in the settings; raise if its package is not installed."""
    options = {key: chosen[key] for key in chosen if key not in ("name", "every")}
    suite: Suite = create_suite(chosen["name"], **options)
    return suite


def new_backbone(settings: Settings) -> torch.nn.Module:
    """Return a backbone with fresh weights."""
    chosen = settings["backbone"]
    return create_backbone(chosen["name"], **chosen["options"])


def new_classifier(
    settings: Settings,
    num_classes: int,
    protocol: str,
    backbone: Path | None,
    lr: float,
) -> RobustClassifier:
    """Return a classifier, with pre-trained weights if there are any."""
    chosen = settings["finetuning"]
    how = chosen["protocols"][protocol]
    return RobustClassifier(
        new_backbone(settings),
        num_classes=num_classes,
        trainable=how["trainable"],
        attack=attack_of(settings, "finetuning") if how["attacked"] else None,
        checkpoint=backbone,
        load=how.get("load", "all"),
        lr=lr,
        weight_decay=chosen["weight_decay"],
        channels_last=settings["channels_last"],
    )


def data_module(
    settings: Settings, root: Path, seed: int, chosen: Settings
) -> ImageFolderDataModule:
    """Return the images of a seed, for a part of the settings."""
    options = (
        "num_labelled",
        "fraction",
        "crop_padding",
        "flip_probability",
        "batch_size",
    )
    return _Folder(
        root,
        seed=seed,
        **settings["data"],
        **{key: chosen[key] for key in options if key in chosen},
    )


def pretraining_module(settings: Settings, arm: Arm) -> tuple[Any, list[pl.Callback]]:
    """Return the module to pre-train, and the callback that attacks it, if any."""
    chosen = pretraining_of(settings, arm)
    attack = AttackSchedule(attack_of(settings, "pretraining"), ramp=chosen["ramp"])
    backbone = new_backbone(settings)
    adversarial = arm.pretraining == "adversarial"
    common = {
        "attack": attack if adversarial else None,
        "weight": chosen["weight"],
        "channels_last": settings["channels_last"],
        **chosen["optimizer"],
    }
    if arm.task == ENSEMBLE:
        tasks = chosen["ensemble"]["tasks"]
        weight = chosen["ensemble"]["diversity"][arm.diversity]
        options = {task: chosen["tasks"][task] for task in tasks}
        return (
            PretextEnsembleModule(
                tasks,
                backbone=backbone,
                task_options=options,
                diversity_weight=weight,
                attack_diversity_weight=weight * chosen["ensemble"]["in_attack"],
                **common,
            ),
            [],
        )
    options = chosen["tasks"][arm.task]
    if arm.task == "simclr":
        module = SimCLR(
            backbone,
            optimizer=OneCycleSGD(**chosen["optimizer"]),
            channels_last=settings["channels_last"],
            **options,
        )
        # The second view stays clean, as a fixed partner.
        callback = AdversarialTraining(attack, views=[0])
        return module, [callback] if adversarial else []
    task = create_pretext_task(str(arm.task), backbone=backbone, **options)
    return PretextModule(task, **common), []


def passes_of(settings: Settings, arm: Arm) -> float:
    """Return the passes of one image through the network in an epoch of pre-training.

    Forward and backward are one pass, forward alone is half of one. The second
    derivatives of the diversity term are not counted.
    """
    attacked = arm.pretraining == "adversarial"
    steps = settings["pretraining"]["attack"]["steps"]
    if arm.task == "simclr":  # two views, of which the attack moves one
        return 2 + 1.5 * steps * attacked
    tasks = settings["pretraining"]["ensemble"]["tasks"]
    count = len(tasks) if arm.task == ENSEMBLE else 1
    return float(count * (steps + 2 if attacked else 1))


def finetuning_passes_of(settings: Settings, protocol: str) -> float:
    """Return them for an epoch of fine-tuning; a frozen network only goes forward."""
    chosen = settings["finetuning"]
    how = chosen["protocols"][protocol]
    steps = chosen["attack"]["steps"] if how["attacked"] else 0
    return float(steps + (0.5 if how["trainable"] == "head" else 1))


def _images_of(data: ImageFolderDataModule) -> int:
    """Return the number of images in an epoch, without a dropped last batch."""
    loader = data.train_dataloader()
    count = len(data.train_dataset)
    return len(loader) * data.batch_size if loader.drop_last else count


class _Folder(ImageFolderDataModule):
    """Decode the images once in each process, for all seeds."""

    def load_train(self) -> Images:
        return _load(self.root, self.image_size, "train")

    def load_test(self) -> Images:
        return _load(self.root, self.image_size, "test")


@functools.lru_cache
def _load(root: Path, image_size: int, part: str) -> Images:
    folder = ImageFolderDataModule(root, image_size=image_size)
    return folder.load_train() if part == "train" else folder.load_test()
