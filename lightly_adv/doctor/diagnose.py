"""The preflight: examine a module before it is trained against attacks."""

from __future__ import annotations

import dataclasses
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
from lightly_adv.callbacks import AdversarialTraining, preflight
from lightly_adv.doctor import hardware
from lightly_adv.doctor.attack_choice import choose_attack, disable_own_attacks
from lightly_adv.doctor.checks import CHECKS
from lightly_adv.doctor.diagnosis import Diagnosis
from lightly_adv.doctor.failures import failure
from lightly_adv.doctor.isolated_training import isolated_training
from lightly_adv.doctor.probe import Probe
from lightly_adv.doctor.probe_callback import (
    FinishedError,
    ProbeCallback,
    make_checks,
    normalize_random_images,
    with_fitting_attack,
)
from lightly_adv.doctor.random_images import RandomImages
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
    checks: Iterable[CheckFunction[Probe]] = CHECKS,
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
        checks: The checks, by default all of `CHECKS`: functions from a `Probe` to
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
    if data is None and not _has_loader(module):
        data = RandomImages()
    probe = Probe(
        module,
        choose_attack(module, attack),
        options=trainer_options,
        random_images=data if isinstance(data, RandomImages) else None,
        data_classes=_class_count(data),
    )
    normalize_random_images(probe)
    data = _loader(data)
    callback = ProbeCallback(probe, checks)
    with hardware.without_gpu(), _warnings_off(), _protected(module, data) as obstacle:
        error = obstacle or _fit(callback, data)
        probe, results = callback.probe, callback.results
        if error is not None:
            batch = _first_batch(module, data)
            probe = with_fitting_attack(dataclasses.replace(probe, batch=batch))
            results = [failure(START, error), *make_checks(probe, checks)]
    return Diagnosis(_subject(probe), results)


def _class_count(data: Any) -> int | None:
    """Return the number of classes of the data, if known; not of random images."""
    if data is None or isinstance(data, RandomImages):
        return None
    classes = getattr(getattr(data, "dataset", None), "classes", None)
    return getattr(data, "num_classes", len(classes) if classes else None)


def _loader(data: Any) -> Any:
    """Return what `Trainer.fit` takes."""
    if isinstance(data, RandomImages):
        return data.train_dataloader()  # a loader goes with Trainers of both namespaces
    if isinstance(data, Tensor | list | tuple | Mapping):
        # The step may write into its batch; the one given stays as it is.
        copied = pytree.tree_map_only(Tensor, Tensor.clone, data)
        return DataLoader([copied], batch_size=None)  # type: ignore[arg-type]
    return data


def _namespace(module: Any) -> ModuleType:
    """Return the namespace whose Trainer takes a module."""
    return lightning.namespace_of(module) or lightning.pl


def _has_loader(module: Any) -> bool:
    """Whether a module has a loader of its own."""
    parent = _namespace(module).LightningModule
    return bool(is_overridden("train_dataloader", module, parent))


def _fit(callback: ProbeCallback, data: Any) -> BaseException | None:
    """Train to the first step; return what kept training from that."""
    probe = callback.probe
    module = probe.module
    options = {"max_epochs": 100, **probe.options, **_FORCED}
    options |= hardware.replaced(probe.options)
    try:
        namespace = _namespace(module)
        logger = lightning.attribute(namespace, "loggers.logger.DummyLogger")()
        options |= {"callbacks": [callback], "logger": logger}
        preflight.check_strategy(probe.options.get("strategy", "auto"))
        trainer = namespace.Trainer(**options)
        preflight.check_trainable(trainer, module)
        if probe.choice.from_callback:
            preflight.check_attacked_once(module)
        disable_own_attacks(module)
        if isinstance(data, lightning.kinds("LightningDataModule")):
            trainer.fit(module, datamodule=data)
        else:
            trainer.fit(module, train_dataloaders=data)
    except FinishedError:
        return None
    except (Exception, SystemExit) as error:
        return error
    return RuntimeError(
        "training ended before its first step: there is no batch, or "
        "on_train_batch_start returned -1."
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


def _subject(probe: Probe) -> str:
    """Describe in one line what was examined."""
    attack, kind = probe.attack, type(probe.module).__name__
    ball = f"{type(attack).__name__}, {formatting.ball(attack.threat_model)}"
    parts = [kind, f"{ball}, {attack.steps} steps", probe.precision]
    try:
        shapes = Counter(tuple(each.shape) for each in probe.selected.images)
        device = str(probe.device)
    except Exception:
        return "; ".join(parts)
    seen = [f"{n} of {' x '.join(map(str, shape))}" for shape, n in shapes.items()]
    return "; ".join([kind, f"views: {' and '.join(seen)}", *parts[1:], device])


@contextmanager
def _protected(module: Any, data: Any) -> Iterator[Exception | None]:
    """Restore module and random streams afterwards; yield what prevents it, if any."""
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
                stack.enter_context(isolated_training(module))
        except (TypeError, ValueError) as error:
            obstacle = error
        yield obstacle


@contextmanager
def _warnings_off() -> Iterator[None]:
    """Mute warnings and loggers: the checks report problems."""
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
