"""Optimizers of our own modules, each with its learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lightly.models.utils import get_weight_decay_parameters
from lightly.utils.lars import LARS
from timm import optim as timm_optim
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

from lightly_adv.training import arguments
from lightly_adv.training.learning_rates import one_cycle, warmup_cosine


class OptimizerFactory(Protocol):
    """Makes what `configure_optimizers` of a LightningModule returns."""

    def configure(self, module: nn.Module, *, total_steps: float) -> dict[str, Any]:
        """Return an optimizer of what requires a gradient, and a schedule.

        Args:
            module: What is trained.
            total_steps: `trainer.estimated_stepping_batches`.
        """


@dataclass(frozen=True)
class OneCycleSGD:
    """SGD with Nesterov momentum; the rate rises, then falls, on cosines.

    - [0] Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
      Rates, 2017, https://arxiv.org/abs/1708.07120 (here with constant momentum)

    Args:
        lr: Highest learning rate.
        weight_decay: Weight decay of all parameters.
        warmup: Share of training over which the rate rises, in [0, 1].
        momentum: Momentum.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> configured = OneCycleSGD(lr=0.1).configure(nn.Linear(2, 1), total_steps=100)
        >>> round(configured["optimizer"].param_groups[0]["lr"], 6)
        0.004
    """

    lr: float = 0.1
    weight_decay: float = 5e-4
    warmup: float = 0.2
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Validate the arguments."""
        arguments.check_not_negative(self, "lr", "weight_decay", "momentum")
        arguments.check_share("warmup", self.warmup)

    def configure(self, module: nn.Module, *, total_steps: float) -> dict[str, Any]:
        """Return what `configure_optimizers` of a LightningModule returns.

        Args:
            module: What is trained; parameters that require no gradient are left out.
            total_steps: `trainer.estimated_stepping_batches`.

        Raises:
            ValueError: If training has no end, or if there is nothing to train.
        """
        arguments.check_end(total_steps)
        optimizer = optim.SGD(
            _trainable(module.parameters()),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=self.weight_decay,
        )
        # Not torch's OneCycleLR: it puts the number of steps into checkpoints, so that
        # a run which is resumed to train for longer ends in an error.
        return _scheduled(
            optimizer, lambda step: one_cycle(step / total_steps, warmup=self.warmup)
        )


@dataclass(frozen=True)
class WarmupCosineSGD:
    """SGD with momentum; the rate rises linearly, then falls on a cosine.

    Args:
        lr: Highest learning rate.
        weight_decay: Weight decay of all parameters.
        warmup: Share of training over which the rate rises, in [0, 1].
        momentum: Momentum, without Nesterov's.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> factory = WarmupCosineSGD(lr=0.5, warmup=0.1)
        >>> configured = factory.configure(nn.Linear(2, 1), total_steps=100)
        >>> configured["optimizer"].param_groups[0]["momentum"]
        0.9
    """

    lr: float = 0.5
    weight_decay: float = 5e-4
    warmup: float = 0.1
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Validate the arguments."""
        arguments.check_not_negative(self, "lr", "weight_decay", "momentum")
        arguments.check_share("warmup", self.warmup)

    def configure(self, module: nn.Module, *, total_steps: float) -> dict[str, Any]:
        """See `OneCycleSGD.configure`."""
        arguments.check_end(total_steps)
        optimizer = optim.SGD(
            _trainable(module.parameters()),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return _scheduled(optimizer, warmup_cosine(self.warmup, total_steps))


@dataclass(frozen=True)
class WarmupCosineLARS:
    """LARS for large batches; the rate rises linearly, then falls on a cosine.

    Both are Lightly's. Biases and normalisation layers have no weight decay.

    - [0] A Simple Framework for Contrastive Learning of Visual Representations, 2020,
      https://arxiv.org/abs/2002.05709

    Args:
        lr: Highest learning rate; 0.075 * sqrt(batch size) or 0.3 * batch size / 256
            are usual.
        weight_decay: Weight decay of the other parameters.
        warmup: Share of training over which the rate rises, in [0, 1].
        momentum: Momentum.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> factory = WarmupCosineLARS(lr=0.3, warmup=0.1)
        >>> configured = factory.configure(nn.Linear(2, 1), total_steps=100)
        >>> type(configured["optimizer"]).__name__
        'LARS'
    """

    lr: float = 0.3
    weight_decay: float = 1e-6
    warmup: float = 0.1
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Validate the arguments."""
        arguments.check_not_negative(self, "lr", "weight_decay", "momentum")
        arguments.check_share("warmup", self.warmup)

    def configure(self, module: nn.Module, *, total_steps: float) -> dict[str, Any]:
        """See `OneCycleSGD.configure`."""
        arguments.check_end(total_steps)
        _trainable(module.parameters())
        decayed, others = (
            [each for each in group if each.requires_grad]
            for group in get_weight_decay_parameters([module])
        )
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = LARS(
            [group for group in groups if group["params"]],
            lr=self.lr,
            momentum=self.momentum,
        )
        return _scheduled(optimizer, warmup_cosine(self.warmup, total_steps))


@dataclass(frozen=True)
class WarmupCosineAdamW:
    """AdamW, for vision transformers with smaller rates for earlier layers.

    The rate rises linearly, then falls on a cosine. The layers are those that timm
    tells of `module.backbone`; everything else has the full rate. Biases, norms and
    what the backbone names in `no_weight_decay` have no weight decay.

    - [0] BEiT: BERT Pre-Training of Image Transformers, 2021,
      https://arxiv.org/abs/2106.08254

    Args:
        lr: Highest learning rate.
        weight_decay: Weight decay.
        warmup: Share of training over which the rate rises, in [0, 1].
        layer_decay: Factor from one layer of the backbone to the one before it, in
            (0, 1]. 1 gives all layers one rate.
        betas: Decay of the two moments.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> factory = WarmupCosineAdamW(lr=1e-3, warmup=0.1)
        >>> configured = factory.configure(nn.Linear(2, 1), total_steps=100)
        >>> [group["weight_decay"] for group in configured["optimizer"].param_groups]
        [0.0, 0.05]
    """

    lr: float = 1.5e-4
    weight_decay: float = 0.05
    warmup: float = 0.1
    layer_decay: float = 1.0
    betas: tuple[float, float] = (0.9, 0.95)

    def __post_init__(self) -> None:
        """Validate the arguments."""
        arguments.check_not_negative(self, "lr", "weight_decay")
        arguments.check_share("warmup", self.warmup)
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"layer_decay={self.layer_decay} must lie in (0, 1]: it is the factor "
                "from a layer to the one before it; 1 gives all layers one rate."
            )

    def configure(self, module: nn.Module, *, total_steps: float) -> dict[str, Any]:
        """See `OneCycleSGD.configure`."""
        arguments.check_end(total_steps)
        _trainable(module.parameters())
        groups = self._groups(module)
        for group in groups:
            group["lr"] = self.lr * group.pop("lr_scale", 1.0)
        optimizer = optim.AdamW(groups, lr=self.lr, betas=self.betas)
        return _scheduled(optimizer, warmup_cosine(self.warmup, total_steps))

    def _groups(self, module: nn.Module) -> list[dict[str, Any]]:
        backbone = getattr(module, "backbone", None)
        skipped: set[str] = getattr(backbone, "no_weight_decay", set)()
        if self.layer_decay == 1 or backbone is None:
            names = {f"backbone.{name}" for name in skipped} | set(skipped)
            return _checked_groups(
                timm_optim.param_groups_weight_decay(  # type: ignore[attr-defined]
                    module,
                    weight_decay=self.weight_decay,
                    no_weight_decay_list=names,
                )
            )
        layers = _checked_groups(
            timm_optim.param_groups_layer_decay(  # type: ignore[attr-defined]
                backbone,
                self.weight_decay,
                no_weight_decay_list=skipped,
                layer_decay=self.layer_decay,
            )
        )
        own = {id(each) for each in backbone.parameters()}
        rest = [
            each
            for each in module.parameters()
            if each.requires_grad and id(each) not in own
        ]
        heads = [
            {
                "params": [p for p in rest if p.dim() > 1],
                "weight_decay": self.weight_decay,
            },
            {"params": [p for p in rest if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return layers + _checked_groups(heads)


def _scheduled(
    optimizer: optim.Optimizer, factor: Callable[[int], float]
) -> dict[str, Any]:
    scheduler = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


def _trainable(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    found = [each for each in parameters if each.requires_grad]
    if not found:
        raise ValueError("no parameter requires a gradient; nothing can be trained.")
    return found


def _checked_groups(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out empty groups, which optimizers refuse."""
    return [group for group in groups if group["params"]]
