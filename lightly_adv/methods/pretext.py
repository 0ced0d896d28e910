"""Pre-training on a pretext task, clean or adversarial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lightly_adv.attacks import AttackLike
from lightly_adv.functional.schedules import Scheduled
from lightly_adv.methods.pretraining import Pretraining
from lightly_adv.pretext.registry import build_task
from lightly_adv.pretext.task import PretextTask
from lightly_adv.training.backends import AttackBackend
from lightly_adv.training.optimizers import OneCycleSGD


class PretextModule(Pretraining):
    """Train a backbone to answer a pretext task, also about perturbed images.

    The loss is `(1 - weight) * clean + weight * adversarial`, with the same targets in
    both terms. Clean and adversarial images pass the network one after the other,
    each with its own batch statistics. The attack normalises with statistics of the
    batch, too, and moves no running ones. Where BatchNorm layers have routes, see
    `convert_dual_batchnorm`, attack and adversarial term take "adv", the clean term
    "clean".

    Batches are (images, ...) with pixels in [0, 1]. Logged are, in percent,
    `train_top1` and `train_robust_top1`, `val_top1` and `val_robust_top1`, and the
    losses `train_loss` and `val_loss`. Validation asks the same questions and starts
    its attack from the same noise after every epoch.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        task: A pretext task, or the name of one.
        backbone: For a task by name: the name of a backbone that timm knows, or a
            module. Defaults to that of the task.
        task_options: For a task by name: arguments for it besides the backbone, such as
            `{"grid": 2}` for "jigsaw".
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule` that grows it. None is standard pre-training.
        weight: Weight of the adversarial loss, in [0, 1], or a function of progress
            such as `Ramp`. With 1 there is no clean pass, with 0 no attack.
        val_attack: The attack of validation. Defaults to `attack` as it is at the end
            of training.
        lr: Highest learning rate of the one cycle.
        weight_decay: Weight decay of all parameters.
        warmup: Share of training over which the learning rate rises.
        channels_last: Keep network and images in the channels-last format, which is
            faster for small networks on a CPU.
        attack_backend: How the attack is run, see `AdversarialModule`.

    Raises:
        TypeError: If an attack is not one, or if a task that is made already comes with
            a backbone or options.
        ValueError: If a number is out of range, or if a name or an option is unknown.

    Examples:
        >>> import torch
        >>> from lightly_adv import PGD, ThreatModel
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=2)
        >>> module = PretextModule("rotation", backbone="resnet8_tiny", attack=attack)
        >>> module.backbone(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        task: str | PretextTask = "rotation",
        *,
        backbone: str | nn.Module | None = None,
        task_options: Mapping[str, Any] | None = None,
        attack: AttackLike | None = None,
        weight: Scheduled = 0.5,
        val_attack: AttackLike | None = None,
        lr: float = 0.1,
        weight_decay: float = 5e-4,
        warmup: float = 0.2,
        channels_last: bool = False,
        attack_backend: AttackBackend = "auto",
    ) -> None:
        network = _create_task(task, backbone, dict(task_options or {}))
        super().__init__(
            network,
            attack=attack,
            weight=weight,
            val_attack=val_attack,
            optimizer=OneCycleSGD(lr, weight_decay, warmup),
            channels_last=channels_last,
            attack_backend=attack_backend,
        )
        self.task = network
        objects = [] if isinstance(task, str) else ["task"]
        objects += [] if isinstance(backbone, str | None) else ["backbone"]
        self.save_hyperparameters(ignore=["attack", "val_attack", *objects])

    @property
    def tasks(self) -> dict[str, PretextTask]:
        """The task, by the name of its class."""
        return {type(self.task).__name__: self.task}

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the task makes of inputs that `task.draw` returned."""
        found: Tensor = self.task(inputs)
        return found


def _create_task(
    task: str | PretextTask, backbone: str | nn.Module | None, options: dict[str, Any]
) -> PretextTask:
    if isinstance(task, str):
        given = {} if backbone is None else {"backbone": backbone}
        return build_task(task, task, options | given)
    if not isinstance(task, PretextTask):
        raise TypeError(
            f"task is a {type(task).__name__}; expected a PretextTask, or a name such "
            "as 'rotation'."
        )
    if backbone is not None or options:
        extra = "backbone=" if backbone is not None else "task_options="
        raise TypeError(
            f"{extra} came with a {type(task).__name__}, which is made already; give "
            "that to the task instead."
        )
    return task
