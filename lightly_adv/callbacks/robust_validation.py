"""Robust accuracy during training, to choose the checkpoint by."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import torch

from lightly_adv.attacks import notices
from lightly_adv.batch_norm import routes
from lightly_adv.evaluation import batches, classification, suites
from lightly_adv.evaluation.isolated_model import isolated
from lightly_adv.evaluation.suites import Suite
from lightly_adv.lightning import Callback, pl
from lightly_adv.threat_model import ThreatModel


class RobustValidation(Callback):
    """Attack the validation images and log the share that stays right, in percent.

    Robust accuracy often falls again while clean accuracy still rises [0]; a
    `ModelCheckpoint(monitor="val_robust_top1", mode="max")` keeps the best weights.
    The module's `forward` must map images to logits, and its validation batches must
    be (images, labels) or (images, labels, filenames). Only images that are right
    without an attack are attacked, in float32 and eval mode; nothing of the module
    changes. With several processes the counts are summed over all of them. Where
    BatchNorm layers have routes, see `convert_dual_batchnorm`, they take "adv".

    - [0] Overfitting in adversarially robust deep learning, 2020,
      https://arxiv.org/abs/2002.11569

    Args:
        threat_model: What the attacks may do. Its `normalize` must be what the
            validation transform did to the images.
        suite: Which attacks to run; a name, or a `Suite`.
        every_n_epochs: Attack in the first epoch and every n epochs from there. In
            between the last value is logged again, so that monitors always find it.
        max_samples: Attack only the first that many validation images. Defaults
            to the number that the suite asks for.
        dataloader_idx: Which validation loader to attack, if there are several.
        name: Key of the logged value.
        seed: Seed of the noise, which is the same in every epoch.

    Raises:
        TypeError: If a batch or the output of the module has the wrong type.
        ValueError: If a number is too small, or the suite unknown; in validation, if
            the logits or the images are not what they must be.

    Examples:
        >>> robust_validation = RobustValidation(
        ...     ThreatModel(eps=8 / 255), suite="pgd-20", every_n_epochs=5
        ... )
        >>> trainer = pl.Trainer(
        ...     callbacks=[robust_validation],
        ...     logger=False, enable_checkpointing=False, accelerator="cpu",
        ... )
    """

    def __init__(
        self,
        threat_model: ThreatModel,
        *,
        suite: str | Suite = "pgd-20",
        every_n_epochs: int = 1,
        max_samples: int | None = None,
        dataloader_idx: int = 0,
        name: str = "val_robust_top1",
        seed: int = 0,
    ) -> None:
        if every_n_epochs < 1:
            raise ValueError(
                f"every_n_epochs={every_n_epochs} is too small; expected at least 1."
            )
        suite = suites.resolve(suite)
        if max_samples is not None:
            suite = dataclasses.replace(suite, max_samples=max_samples)
        self.threat_model = threat_model
        self.suite = suite
        self.every_n_epochs = every_n_epochs
        self.dataloader_idx = dataloader_idx
        self.name = name
        self.seed = seed
        self._attacks = suite.create_attacks(threat_model)
        self._due = False
        self._said: set[str] = set()
        self._right = 0
        self._total = 0
        self._last_value: float | None = None
        self._last_epoch: int | None = None

    @property
    def state_key(self) -> str:
        """Tell the states of several of these callbacks apart."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the last value and its epoch."""
        return {"last_value": self._last_value, "last_epoch": self._last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the last value and its epoch."""
        self._last_value = state_dict["last_value"]
        self._last_epoch = state_dict["last_epoch"]

    def on_validation_epoch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Decide whether this time is one to attack."""
        self._due = not trainer.sanity_checking and self._is_due(trainer)
        self._right = self._total = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Attack the batch that the module has just validated."""
        left = self._limit(trainer) - self._total
        if not self._due or dataloader_idx != self.dataloader_idx or left <= 0:
            return
        images, labels = (part[:left] for part in batches.unpack(batch))
        evaluated = isolated(pl_module, device=images.device, seed=self.seed)
        # The route outside: at its end, the model is compared once more.
        warned = notices.once(self._said)
        with warned, routes.bn_route(routes.ADV), evaluated as model:
            key = (self.seed, trainer.global_rank, batch_idx)
            result = classification.attack_batch(
                model, images, labels, self._attacks, key=key
            )
        self._right += int(result.robust.sum())
        self._total += len(images)

    def on_validation_epoch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Log the robust accuracy over all processes, or the last one again."""
        if trainer.sanity_checking:
            return
        if self._due:
            self._last_value = self._reduce(trainer, pl_module.device)
            self._last_epoch = trainer.current_epoch
        if self._last_value is not None:
            # The same on all processes; their mean only keeps Lightning from warning.
            pl_module.log(
                self.name,
                torch.tensor(self._last_value, device=pl_module.device),
                prog_bar=True,
                sync_dist=True,
            )

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if self._last_epoch is None or trainer.state.fn != "fit":
            return True
        return not 0 < trainer.current_epoch - self._last_epoch < self.every_n_epochs

    def _limit(self, trainer: pl.Trainer) -> int:
        if self.suite.max_samples is None:
            return sys.maxsize
        return math.ceil(self.suite.max_samples / trainer.world_size)

    def _reduce(self, trainer: pl.Trainer, device: torch.device) -> float:
        counts = torch.tensor([self._right, self._total], device=device)
        summed: Any = trainer.strategy.reduce(counts, reduce_op="sum")
        right, total = summed.tolist()
        if total == 0:
            raise ValueError(
                f"no image was attacked: validation loader {self.dataloader_idx} "
                "gave none. Choose another one with dataloader_idx=."
            )
        return 100 * float(right) / float(total)
