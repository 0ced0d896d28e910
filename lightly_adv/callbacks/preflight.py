"""What is tested before adversarial training starts, by the callback and the doctor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from lightly_adv import lightning
from lightly_adv.attacks import AttackLike
from lightly_adv.isolation import leaks
from lightly_adv.lightning import pl, rank_zero_warn, utilities
from lightly_adv.training.cost import StepCost
from lightly_adv.training.step_objective import StepObjective

_SHARDED = ("fsdp", "modelparallel", "stage_3")
"""Parts of the names of strategies that shard parameters."""

RTOL = 1e-5
"""How far two evaluations of one loss may lie apart: some GPU kernels add in any order.
"""


def check_trainable(trainer: Any, module: Any) -> None:
    """Refuse trainers and modules whose training step cannot be replayed.

    Raises:
        TypeError: If trainer or module are not of Lightning, or of two namespaces.
        ValueError: If the module optimises manually or pulls its own batches, if its
            parameters are sharded over processes, if a part is scripted, or if
            `sync_batchnorm` would drop the activations in its BatchNorm layers.
    """
    _check_namespaces(trainer, module)
    name = type(module).__name__
    if not module.automatic_optimization:
        raise ValueError(
            f"{name} uses manual optimisation (automatic_optimization=False): its "
            "training_step steps the optimiser, so it cannot be evaluated by an "
            "attack. Attack in the step instead, without this callback: by a swapped "
            "loss, AdversarialLoss(criterion, attack), or by attack(objective, views) "
            "with `with isolated(self):` in the objective; see "
            "docs/manual_optimization.md. Or return the loss and let Lightning "
            "optimise."
        )
    if utilities.signature_utils.is_param_in_hook_signature(
        module.training_step, "dataloader_iter", explicit=True
    ):
        raise ValueError(
            f"{name}.training_step takes a dataloader_iter and pulls its own batches, "
            "so there is no batch to perturb; take a batch instead."
        )
    check_strategy(trainer.strategy)
    _check_distributed(trainer, module)
    _check_scripted(module)
    _check_activations(trainer, module)


def check_attacked_once(module: nn.Module) -> None:
    """Refuse modules that attack their views themselves, with parts of this package.

    The perturbations of both would add up to more than eps, and what the own attack
    perturbs passes no gradient on to the views.

    Raises:
        ValueError: If there is such a part.
    """
    for name, part, attack in attacking_parts(module):
        attacks = attack.evaluations > 0 and getattr(part, "weight", 1.0) > 0
        if attacks and _is_ours(part):
            raise ValueError(
                f"{name or 'the module'} ({type(part).__name__}) has an attack of its "
                "own, so AdversarialTraining would attack views that are attacked "
                "already. Leave out one of the two: the callback, or that attack."
            )


def attacking_parts(
    module: nn.Module,
) -> Iterator[tuple[str, nn.Module, AttackLike]]:
    """Yield the parts of a module that attack by themselves: name, part, attack."""
    for name, part in module.named_modules():
        attack = vars(part).get("attack")
        if isinstance(attack, AttackLike):
            yield name, part, attack


def check_strategy(strategy: Any) -> None:
    """Refuse strategies that shard parameters over processes.

    Args:
        strategy: What a Trainer takes: a name or an object.

    Raises:
        ValueError: If it is one of these.
    """
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    config = getattr(strategy, "config", None) or {}
    stage = config.get("zero_optimization", {}).get("stage", 0)
    if stage >= 3 or any(word in name.lower() for word in _SHARDED):
        raise ValueError(_sharded(name))


def layers_losing_activation(module: nn.Module) -> list[str]:
    """Return the BatchNorm layers with an activation inside, such as timm's.

    Lightning's `sync_batchnorm=True` drops it: after all `setup` hooks it converts with
    torch's own function, which puts a plain SyncBatchNorm in the place of any layer
    that is derived from BatchNorm.
    """
    return [
        name
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and _acts(part)
    ]


@dataclass(frozen=True)
class TwoEvaluations:
    """Two evaluations of one loss, each of them isolated.

    Args:
        losses: The losses, detached.
        leaked: Names of the state that they changed all the same.
    """

    losses: tuple[Tensor, Tensor]
    leaked: list[str]

    @property
    def constant(self) -> bool:
        """Whether the loss depends on nothing but views, module and random streams."""
        first, second = self.losses
        # At least some steps of what a loss in half precision can tell apart.
        rtol = max(RTOL, 4 * torch.finfo(first.dtype).eps)
        return torch.allclose(first, second, rtol=rtol, equal_nan=True)


def evaluate_twice(module: nn.Module, objective: StepObjective) -> TwoEvaluations:
    """Evaluate the loss of the clean views twice, and compare the module with before.

    Args:
        module: The module behind the objective.
        objective: The loss as the attack sees it.
    """
    before = leaks.snapshot(module)
    # Nothing requires a gradient here; a step that takes one of its own still may.
    first, second = (objective(objective.selected.views).detach() for _ in range(2))
    return TwoEvaluations((first, second), before.changes(leaks.snapshot(module)))


def verify_first_batch(
    module: nn.Module, objective: StepObjective, *, constant: bool
) -> None:
    """Warn of what leaked out of the isolation and of a loss that changes by itself.

    Args:
        module: The module behind the objective.
        objective: The loss as the attack sees it.
        constant: Whether two evaluations of the loss should agree.
    """
    twice = evaluate_twice(module, objective)
    if twice.leaked:
        rank_zero_warn(
            "the attack changes state of the module that cannot be set aside: "
            f"{', '.join(twice.leaked[:10])}. It lives where the isolation cannot "
            "reach it, such as in a generator, a data loader, a global or a file; make "
            "it an attribute of the module: a number, a list, a buffer. Training goes "
            "on, but this state advances with every attack step."
        )
    if constant and not twice.constant:
        first, second = twice.losses
        rank_zero_warn(
            f"the loss of the same batch was {first.mean():.6g} and then "
            f"{second.mean():.6g}: it depends on something besides the views, the "
            "state of the module and the random streams of torch, random and numpy. "
            "The attack raises a loss that moves."
        )


def check_initialized(module: nn.Module) -> None:
    """Refuse lazy parameters, which take their shape in a first forward pass.

    Raises:
        ValueError: If some have no shape yet, with the name of the first.
    """
    state = itertools.chain(module.named_parameters(), module.named_buffers())
    for name, tensor in state:
        if is_lazy(tensor):
            raise ValueError(
                f"{name!r} has no shape yet (a lazy layer), so that it cannot be set "
                "aside while attacking; run one forward pass before training, for "
                "instance in configure_model or at the end of __init__."
            )


def check_ranks_agree(trainer: pl.Trainer, cost: StepCost) -> None:
    """Refuse processes that would evaluate the loss different numbers of times.

    Where a loss or layer gathers from all processes, each evaluation of one waits for
    one of all others, so that training would hang without a word.

    Raises:
        ValueError: If they would, on every process, with the numbers of all.
    """
    if trainer.world_size == 1:
        return
    strategy: Any = trainer.strategy
    mine = torch.tensor(cost.runs, device=strategy.root_device)
    counts = strategy.all_gather(mine).flatten().tolist()
    if len(set(counts)) > 1:
        raise ValueError(
            f"the processes would evaluate the loss {counts} times per batch to attack "
            "it; expected the same number on each rank, or they wait for each other "
            "forever. Give all ranks the same attack and, with independent=True, "
            "batches with the same number of views."
        )


def _check_namespaces(trainer: Any, module: Any) -> None:
    for kind, value, name in (
        ("trainer", trainer, "Trainer"),
        ("module", module, "LightningModule"),
    ):
        if not isinstance(value, lightning.kinds(name)):
            raise TypeError(
                f"the {kind} is a {type(value).__module__}.{type(value).__qualname__}; "
                f"expected a {name} of {' or '.join(lightning.NAMES)}."
            )
    lightning.check_same_namespace(trainer, module)


def _check_distributed(trainer: Any, module: nn.Module) -> None:
    if any(type(x).__name__ == "DTensor" for x in module.parameters()):
        raise ValueError(_sharded(type(trainer.strategy).__name__))


def _sharded(strategy: str) -> str:
    return (
        f"the strategy {strategy} shards parameters over processes, so that they "
        "cannot be set aside while attacking; use strategy='ddp'."
    )


def _check_scripted(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ValueError(
                f"{name!r} is a {type(part).__name__}, a scripted or traced module, "
                "whose state cannot be set aside while attacking; use the Python "
                "module that it was made from, or torch.compile instead."
            )


def _check_activations(trainer: Any, module: nn.Module) -> None:
    """Refuse a conversion of timm's BatchNorm layers that drops their activation."""
    sync = getattr(trainer.strategy, "_layer_sync", None)
    if not isinstance(sync, lightning.kinds("plugins.layer_sync.TorchSyncBatchNorm")):
        return
    for name in layers_losing_activation(module):
        raise ValueError(
            f"the layer {name!r} is a {type(module.get_submodule(name)).__name__}, "
            "which has an activation inside, and Trainer(sync_batchnorm=True) silently "
            "drops it: it converts with torch.nn.SyncBatchNorm. Convert in the module "
            "yourself, with timm.layers.convert_sync_batchnorm(backbone), and leave "
            "sync_batchnorm off."
        )


def _is_ours(part: nn.Module) -> bool:
    package = __name__.split(".")[0]
    return any(kind.__module__.split(".")[0] == package for kind in type(part).__mro__)


def _acts(part: nn.Module) -> bool:
    layers = (getattr(part, name, None) for name in ("act", "drop"))
    return any(
        isinstance(layer, nn.Module) and not isinstance(layer, nn.Identity)
        for layer in layers
    )
