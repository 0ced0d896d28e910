"""The base of all methods: a LightningModule whose training step attacks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import Attack, AttackLike
from lightly_adv.attacks.attack_like import check_attack
from lightly_adv.batch_norm import export_route, routes
from lightly_adv.errors import UnfitBatchError, UnreachedError
from lightly_adv.functional.validation import check_choice
from lightly_adv.isolation import modes, rng
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.lightning import pl
from lightly_adv.models import backbones
from lightly_adv.training import noise
from lightly_adv.training.backends import AttackBackend, AttackRunner
from lightly_adv.training.clean_batches import CleanBatches
from lightly_adv.training.optimizers import OneCycleSGD, OptimizerFactory
from lightly_adv.training.perturb import Perturbation
from lightly_adv.training.progress import share_done


class AdversarialModule(pl.LightningModule):
    """Write a plain `training_step`, and call `perturb` in it.

    For methods whose inner objective is not the loss that is trained, or whose terms
    cross clean and perturbed views. A loss that is attacked and trained alike needs no
    class: see `AdversarialTraining`.

    Args:
        attack: The default attack of `perturb`, or an `AttackSchedule` that grows it.
        optimizer: Makes optimizer and learning-rate schedule.
        bn_mode: How the attacks of `perturb` see BatchNorm layers: with statistics of
            the "batch", or with their running ones ("eval"). See
            `AdversarialTraining`.
        attack_backend: How `perturb` runs an attack: "eager" as it is, "compile" with
            the loss compiled by `torch.compile`, or "cuda_graph" as one CUDA graph,
            which is recorded once and repeated, both in one process only. "auto" is
            "eager". Of what the loss reads, tensors and numbers around it, parameters,
            buffers and Python values of the module may change from batch to batch; what
            it looks up elsewhere, such as the Trainer, must not. The first batches are
            compared with "eager"; where the other fails, this goes on and says so.

    Raises:
        TypeError: If the attack is not one.
        ValueError: If `bn_mode` or the backend is unknown; in training, if the machine
            lacks the backend.

    Examples:
        The target is computed once per batch, the attack raises the distance to it:

        >>> import torch
        >>> from lightly_adv import PGD, ThreatModel
        >>> class Distillation(AdversarialModule):
        ...     def __init__(self, backbone, attack):
        ...         super().__init__(attack)
        ...         self.backbone = backbone
        ...         self.teacher = self.frozen(backbone)
        ...
        ...     def training_step(self, batch, batch_idx):
        ...         images, target = batch, self.teacher(batch)
        ...         def distance(images):
        ...             return (self.backbone(images) - target).square().sum(dim=1)
        ...         return distance(self.perturb(distance, images)).mean()
        >>> backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> module = Distillation(backbone, PGD(ThreatModel(eps=0.1), steps=2))
        >>> loss = module.training_step(torch.rand(4, 3, 2, 2), 0)
        >>> bool(loss > 0)
        True
    """

    def __init__(
        self,
        attack: AttackLike | None = None,
        *,
        optimizer: OptimizerFactory | None = None,
        bn_mode: BatchNormMode = "batch",
        attack_backend: AttackBackend = "auto",
    ) -> None:
        super().__init__()
        if attack is not None:
            check_attack(attack)
        _check_bn_mode(bn_mode)
        self.attack = attack
        self.optimizer = optimizer or OneCycleSGD()
        self.bn_mode: BatchNormMode = bn_mode
        self._frozen_networks: list[nn.Module] = []
        self._noise = noise.BatchNoise()
        self._run_attack = AttackRunner(attack_backend)
        self._clean = CleanBatches()

    def perturb(
        self,
        loss: Callable[..., Tensor],
        *views: Tensor,
        attack: AttackLike | None = None,
        route: str = routes.ADV,
        bn_mode: BatchNormMode | None = None,
        generator: Generator | None = None,
    ) -> Any:
        """Return views that raise `loss(*views)`; nothing of the module changes.

        In a training run attacks and noise follow seed, epoch and batch, so that runs
        repeat and resume. Outside of one the attack is the final one of a schedule,
        and its noise that of seed 0.

        Args:
            loss: Maps views to a scalar or to one value per image, of shape (B,).
            *views: Tensors of shape (B, ..., C, H, W), as the threat model of the
                attack expects them. All are perturbed together.
            attack: The attack. Defaults to that of the module.
            route: What layers with several BatchNorm routes take while attacking.
            bn_mode: How the attack sees BatchNorm layers. Defaults to that of the
                module.
            generator: Source of the noise. Defaults to that of the batch.

        Returns:
            A tensor for one view, a list of tensors for several, detached. They are the
            views themselves where a batch of a training run cannot be attacked, as with
            a loss that is not finite; see `CleanBatches`.

        Raises:
            TypeError: If there is no view, or if the attack is not one.
            ValueError: If there is no attack, if `bn_mode` is unknown, if a layer lacks
                the route, or if the loss does not depend on the views.
        """
        attack = _attack_or_default(attack, self)
        bn_mode = self.bn_mode if bn_mode is None else bn_mode
        _check_bn_mode(bn_mode)
        routes.check_known(self, route)
        if not views:
            raise TypeError("perturb has no view; expected perturb(loss, images).")
        # Only what changes has to know how long training lasts.
        constant = isinstance(attack, Attack)
        try:
            perturbed = _perturbed(
                self._run_attack,
                Perturbation(
                    attack.at(1.0 if constant else self.progress),
                    loss,
                    views,
                    module=self,
                    generator=generator or rng.near(self.generator, views[0].device),
                    route=route,
                    bn_mode=bn_mode,
                ),
            )
        except UnfitBatchError as error:
            if self._trainer is None or not self._trainer.training:
                raise
            self._clean.left(error, batch_idx=self._trainer.fit_loop.batch_idx)
            perturbed = [view.detach() for view in views]
        else:
            self._clean.attacked()
        return perturbed[0] if len(views) == 1 else perturbed

    @contextmanager
    def attack_mode(self, route: str = routes.ADV) -> Iterator[None]:
        """Compute what does not change in an attack, once, as `perturb` would see it.

        There are no gradients inside of the block, and nothing of the module changes.

        Args:
            route: What layers with several BatchNorm routes take.

        Raises:
            ValueError: If no layer has the route, unless it is "clean" or "adv".

        Examples:
            >>> module = AdversarialModule()
            >>> module.backbone = nn.BatchNorm1d(3)
            >>> with module.attack_mode():
            ...     partner = module.backbone(torch.rand(4, 3))
            >>> int(module.backbone.num_batches_tracked)
            0
        """
        routes.check_known(self, route)
        with (
            modes.attack_mode(self, self.bn_mode),
            routes.bn_route(route),
            torch.no_grad(),
        ):
            yield

    @property
    def attack_backend(self) -> AttackBackend:
        """How `perturb` runs an attack; a new one begins from scratch."""
        return self._run_attack.backend

    @attack_backend.setter
    def attack_backend(self, backend: AttackBackend) -> None:
        self._run_attack = AttackRunner(backend)

    @property
    def progress(self) -> float:
        """Share of training that is done, in [0, 1]; 1 outside of training.

        Raises:
            ValueError: If it is not known how long training lasts.
        """
        trainer = self._trainer
        if trainer is None or not trainer.training:
            return 1.0
        return share_done(trainer)

    @property
    def generator(self) -> Generator:
        """Source of the random numbers of this batch, on the CPU.

        Each batch has one, from which all that asks in it draws on.
        """
        return self._noise.generator(trainer=self._trainer, rank=self.global_rank)

    @property
    def encoder(self) -> nn.Module:
        """What goes downstream: from images (B, C, H, W) in [0, 1] to features.

        It is `backbone`, behind `normalize` where the module has one. If its BatchNorm
        layers have routes and there is an attack, it is a plain copy with those of
        "adv". Override it where something else is kept.

        Raises:
            ValueError: If the module has no `backbone`.
        """
        encoder = backbones.encoder_of(self)
        if self.attack is not None and routes.routed_layers(encoder):
            return export_route(encoder, routes.ADV)
        return encoder

    def frozen(self, network: nn.Module) -> nn.Module:
        """Return a copy of a network that never trains: no gradient, eval mode.

        Assign it to an attribute, so that it moves to the device of the module.

        Examples:
            >>> module = AdversarialModule()
            >>> module.teacher = module.frozen(nn.Linear(2, 2))
            >>> module.train().teacher.training
            False
        """
        twin = copy.deepcopy(network).requires_grad_(False).eval()
        self._frozen_networks.append(twin)
        return twin

    def train(self, mode: bool = True) -> AdversarialModule:
        """Set train or eval mode; what is frozen stays in eval mode."""
        super().train(mode)
        for network in self._frozen_networks:
            network.eval()
        return self

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule."""
        return self.optimizer.configure(
            self, total_steps=self.trainer.estimated_stepping_batches
        )


# Functions, for methods could not be told from those of subclasses.
def _attack_or_default(
    attack: AttackLike | None, module: AdversarialModule
) -> AttackLike:
    attack = module.attack if attack is None else attack
    if attack is None:
        raise ValueError(
            f"{type(module).__name__} has no attack; give it one, or pass "
            "perturb(..., attack=PGD(ThreatModel(eps=8 / 255)))."
        )
    check_attack(attack)
    return attack


def _perturbed(run: AttackRunner, wanted: Perturbation) -> list[Tensor]:
    try:
        return run(wanted)
    except UnreachedError:
        raise UnreachedError(_INDEPENDENT) from None


def _check_bn_mode(bn_mode: str) -> None:
    check_choice("bn_mode", bn_mode, get_args(BatchNormMode))


_INDEPENDENT = (
    "the loss that perturb is given does not depend on any of the views: no gradient "
    "reaches them. It has to compute with its arguments, as in "
    "self.perturb(lambda x: criterion(self.backbone(x)), images), rather than with "
    "images from around it, and neither under torch.no_grad() nor through .detach()."
)
