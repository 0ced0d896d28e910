"""The preflight: examine a module before it is trained against attacks."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import torch
from lightning_utilities.core.overrides import is_overridden
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

from lightly_adv import lightning
from lightly_adv.attacks import AttackLike
from lightly_adv.callbacks import AdversarialTraining, refusals
from lightly_adv.doctor import hardware, prescription, visit
from lightly_adv.doctor.checks.standard import CHECKS
from lightly_adv.doctor.diagnosis import Diagnosis
from lightly_adv.doctor.failures import failure
from lightly_adv.doctor.own_attacks import hold_still
from lightly_adv.doctor.patient import Patient
from lightly_adv.doctor.random_images import RandomImages
from lightly_adv.doctor.untouched import untouched
from lightly_adv.doctor.visit import Doctor, FinishedError
from lightly_adv.evaluation import formatting
from lightly_adv.evaluation.checks.check import CheckFunction
from lightly_adv.isolation import rng
from lightly_adv.threat_model import ThreatModel

START = "start"
"""Name of the finding about what keeps training from starting."""

_FORCED: dict[str, Any] = {
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    **hardware.ONE_DEVICE,
    "num_sanity_val_steps": 0,
    "limit_val_batches": 0,
    "fast_dev_run": False,
    "barebones": False,
    "profiler": None,
    # These two would change settings of the process.
    "deterministic": None,
    "benchmark": None,
}
"""Options of the Trainer that an examination on one device needs."""


def diagnose(
    module: Any,
    data: Any = None,
    attack: AttackLike | ThreatModel | AdversarialTraining | None = None,
    *,
    checks: Iterable[CheckFunction[Patient]] = CHECKS,
    **trainer_options: Any,
) -> Diagnosis:
    """Examine a LightningModule, its data and an attack; takes some training steps.

    A Trainer runs to the first training step, where the checks are made, and no
    further. Parameters, buffers, attributes and modes of the module and the random
    streams are afterwards what they were. What `isolated` cannot reach is named by the
    check "isolation".

    Args:
        module: The module that is to be trained.
        data: A batch, a loader of batches or a LightningDataModule; only the first
            batch is used. None takes the loader of the module, or else
            `RandomImages`.
        attack: An attack, a schedule or a threat model; or the `AdversarialTraining`
            callback that training will use, with all its options. None takes the
            attack that the module holds, or else PGD with 8/255 and the normalisation
            that fits the images.
        checks: The checks, by default all of `CHECKS`: functions from a `Patient` to
            a `Check` or several, named like the check.
        **trainer_options: Options of the Trainer, such as `precision="16-mixed"`,
            `strategy="fsdp"` or `sync_batchnorm=True`. The examination itself runs in
            one process, on one device.

    Returns:
        The results of the checks; `print` shows them as a table.

    Raises:
        TypeError: If the attack is none of these.

    Examples:
        >>> from lightly_adv.methods import PretextModule
        >>> _ = torch.manual_seed(0)
        >>> module = PretextModule("rotation", backbone="resnet8_tiny")
        >>> data = RandomImages(32, views=0, normalize=None)
        >>> diagnosis = diagnose(module, data, ThreatModel(eps=8 / 255))
        >>> diagnosis.ok, diagnosis.statuses["images"], diagnosis.statuses["data"]
        (True, 'PASS', 'WARN')
    """
    patient = Patient(
        module, AdversarialTraining(prescription.USUAL), options=trainer_options
    )
    prescription.prescribe(patient, attack)
    data = _data(patient, data)
    doctor = Doctor(patient, checks)
    with hardware.without_gpu(), _hushed(), _protected(module, data) as obstacle:
        error = obstacle or _visit(doctor, data)
        if error is not None:
            patient.batch = _first_batch(module, data)
            prescription.choose(patient)
            doctor.results = visit.examine(patient, checks)
            doctor.results.insert(0, failure(START, error))
    return Diagnosis(_subject(patient), doctor.results)


def _data(patient: Patient, data: Any) -> Any:
    """Return what `Trainer.fit` takes, or None where the module has a loader."""
    module = patient.module
    if data is None and _has_loader(module):
        return None
    if data is None:
        data = RandomImages()
    if isinstance(data, RandomImages):
        patient.random_data = True
        if not patient.guess:
            data.normalize = patient.threat_model.normalize
        return data.train_dataloader()  # a loader goes with Trainers of both namespaces
    if isinstance(data, Tensor | list | tuple | Mapping):
        # The step may write into its batch; the one given stays as it is.
        copied = pytree.tree_map_only(Tensor, Tensor.clone, data)
        return DataLoader([copied], batch_size=None)  # type: ignore[arg-type]
    classes = getattr(getattr(data, "dataset", None), "classes", None)
    count = getattr(data, "num_classes", len(classes) if classes else None)
    patient.data_classes = None if patient.random_data else count
    return data


def _namespace(module: Any) -> ModuleType:
    """Return the namespace whose Trainer takes a module."""
    return lightning.namespace_of(module) or lightning.pl


def _has_loader(module: Any) -> bool:
    """Whether a module has a loader of its own."""
    parent = _namespace(module).LightningModule
    return bool(is_overridden("train_dataloader", module, parent))


def _visit(doctor: Doctor, data: Any) -> BaseException | None:
    """Let the doctor see the first training step; return what kept it from that."""
    patient = doctor.patient
    options = {"max_epochs": 100, **patient.options, **_FORCED}
    options |= hardware.replaced(patient.options)
    try:
        namespace = _namespace(patient.module)
        logger = lightning.attribute(namespace, "loggers.logger.DummyLogger")()
        options |= {"callbacks": [doctor], "logger": logger}
        _check_strategy(patient.options.get("strategy", "auto"))
        trainer = namespace.Trainer(**options)
        refusals.check_trainable(trainer, patient.module)
        if patient.callback:
            refusals.check_attacked_once(patient.module)
        hold_still(patient.module)
        if isinstance(data, lightning.kinds("LightningDataModule")):
            trainer.fit(patient.module, datamodule=data)
        else:
            trainer.fit(patient.module, train_dataloaders=data)
    except FinishedError:
        return None
    except (Exception, SystemExit) as error:
        return error
    return RuntimeError(
        "training ended before its first step: there is no batch, or "
        "on_train_batch_start returned -1."
    )


def _check_strategy(strategy: Any) -> None:
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if any(each in name.lower() for each in ("fsdp", "modelparallel", "stage_3")):
        raise ValueError(
            f"the strategy {name} shards parameters over processes, so that they "
            "cannot be set aside while attacking; use strategy='ddp'."
        )


def _first_batch(module: Any, data: Any) -> Any:
    """Return the first batch without a Trainer; None where that fails."""
    try:
        source = module if data is None else data
        if isinstance(source, lightning.kinds("LightningDataModule")):
            source.setup("fit")
        if hasattr(source, "train_dataloader"):
            source = source.train_dataloader()
        return next(iter(source))
    except Exception:
        return None


def _subject(patient: Patient) -> str:
    """Say in a line what was examined."""
    attack, kind = patient.attack, type(patient.module).__name__
    ball = f"{type(attack).__name__}, {formatting.ball(attack.threat_model)}"
    parts = [kind, f"{ball}, {attack.steps} steps", patient.precision]
    try:
        shapes = Counter(tuple(each.shape) for each in patient.selected.images)
        device = str(patient.device)
    except Exception:
        return "; ".join(parts)
    seen = [f"{n} of {' x '.join(map(str, shape))}" for shape, n in shapes.items()]
    return "; ".join([kind, f"views: {' and '.join(seen)}", *parts[1:], device])


@contextmanager
def _protected(module: Any, data: Any) -> Iterator[Exception | None]:
    """Put back the module and the random streams; say so if that is impossible."""
    obstacle: Exception | None = None
    with ExitStack() as stack:
        generator = getattr(data, "generator", None)
        if isinstance(generator, torch.Generator):
            stack.callback(generator.set_state, generator.get_state())
        if torch.cuda.is_available():
            device = torch.device("cuda", torch.cuda.current_device())
            stack.enter_context(rng.forked(device))
        try:
            if isinstance(module, nn.Module):
                stack.enter_context(untouched(module))
        except (TypeError, ValueError) as error:
            obstacle = error
        yield obstacle


@contextmanager
def _hushed() -> Iterator[None]:
    """Mute warnings and loggers: the checks report."""
    loggers = [logging.getLogger(name) for name in lightning.LOGGERS]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
