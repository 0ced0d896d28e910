"""A criterion that perturbs the views before it compares their embeddings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from lightly_adv.attacks import AttackLike
from lightly_adv.batch_norm import routes
from lightly_adv.isolation import rng
from lightly_adv.isolation.isolated import SharedIsolation
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.training.attacked_step import AttackedStep, Mode, RandomNumbers
from lightly_adv.training.view_policy import ViewPolicy, check_policy

Encoder: TypeAlias = Callable[[Tensor], Any]


class AdversarialLoss(nn.Module):
    """Wrap a criterion of embeddings, so that it takes encoders and views instead.

    Where `loss = criterion(self.forward(x0), self.forward(x1))` stood, write
    `loss = adversarial_criterion(self.forward, (x0, x1))`. It does in the training step
    what `AdversarialTraining` does around it, for those who want to see it there, and
    works in plain PyTorch as well. In eval mode it is the plain criterion.

    What the attack evaluates is isolated: the modules behind the encoders, and the
    criterion, keep their state.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        criterion: From embeddings to a scalar loss, such as those in `lightly.loss`; a
            module or a function.
        attack: The attack; an `AttackSchedule` runs the attack that it ends with.
        mode: "replace" is the adversarial loss alone, "dual" is
            `(1 - weight) * clean + weight * adversarial`.
        weight: Weight of the adversarial loss in "dual" mode, in [0, 1].
        views: Which views to perturb, see `AdversarialTraining`.
        independent: Whether each view has an attack of its own, see
            `AdversarialTraining`.
        bn_mode: How the attack sees the modules, see `AdversarialTraining`.
        rng: Whether evaluations replay or resample, see `AdversarialTraining`.
        modules: The modules that encoders use, where these are neither modules nor
            methods of modules, but for instance lambdas.

    Raises:
        TypeError: If the attack is not one.
        ValueError: If a weight or mode is out of range.

    Examples:
        >>> import torch
        >>> from lightly.loss import NTXentLoss
        >>> from lightly_adv import PGD, AdversarialLoss, ThreatModel
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=2)
        >>> criterion = AdversarialLoss(NTXentLoss(), attack)
        >>> views = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
        >>> criterion(encoder, views).backward()
    """

    def __init__(
        self,
        criterion: Callable[..., Tensor],
        attack: AttackLike,
        *,
        mode: Mode = "replace",
        weight: float = 0.5,
        views: ViewPolicy = None,
        independent: bool = False,
        bn_mode: BatchNormMode = "batch",
        rng: RandomNumbers = "same",
        modules: Iterable[nn.Module] = (),
    ) -> None:
        super().__init__()
        if not callable(criterion):
            raise TypeError(
                f"criterion is a {type(criterion).__name__}; expected a module or a "
                "function from embeddings to a loss, such as NTXentLoss()."
            )
        check_policy(views)
        self._calls = 0
        self.criterion = criterion
        self.attack = attack
        self.mode: Mode = mode
        self.weight = weight
        self.views = views
        self.independent = independent
        self.bn_mode: BatchNormMode = bn_mode
        self.rng: RandomNumbers = rng
        # A tuple, so that they do not become submodules.
        self._others = tuple(modules)
        self._attacked = AttackedStep(self)
        self._isolation = SharedIsolation()

    def forward(
        self,
        encoders: Encoder | Sequence[Encoder],
        views: Sequence[Any],
        *,
        generator: Generator | None = None,
        **arguments: Any,
    ) -> Tensor:
        """Return the loss of views.

        Args:
            encoders: One function from a view to what the criterion takes, or one for
                each argument of the criterion, such as a query and a key encoder.
            views: One entry for each argument of the criterion: a view of shape
                (B, ..., C, H, W), or a list of such views where it takes a list.
            generator: Source of the noise of the attack.
            **arguments: Handed on to the criterion.

        Raises:
            TypeError: If the modules behind an encoder are unknown.
            ValueError: If the numbers of encoders and views differ; what the attack
                raises.
        """
        used = _one_per_view(encoders, views)

        def step(batch: Sequence[Any]) -> Tensor:
            embeddings = [
                pytree.tree_map(encoder, view)
                for encoder, view in zip(used, batch, strict=True)
            ]
            loss: Tensor = self.criterion(*embeddings, **arguments)
            return loss

        if not self.training:
            return step(views)
        module, isolation = self._isolation.of(self._modules_behind(used))
        routes.check_routes(module, routes.CLEAN, routes.ADV)
        number, self._calls = self._calls, self._calls + 1
        loss: Tensor = self._attacked(
            step,
            list(views),
            attack=self.attack.at(1.0),
            module=module,
            isolation=isolation,
            generator=lambda views: (
                generator or rng.private_generator(views, number=number)
            ),
            batch_idx=number,
        )
        return loss

    def _modules_behind(self, encoders: Sequence[Encoder]) -> list[nn.Module]:
        modules: list[nn.Module] = list(self._others)
        criterion = _module_behind(self.criterion)
        if criterion is not None:
            modules.append(criterion)
        for encoder in encoders:
            module = _module_behind(encoder)
            if module is not None:
                modules.append(module)
            elif not self._others:
                raise TypeError(
                    f"the encoder {encoder!r} is neither a module nor a method of one, "
                    "so the modules that it uses are unknown and cannot be set aside "
                    "while attacking; name them: AdversarialLoss(..., modules=[...])."
                )
        return modules


def _one_per_view(
    encoders: Encoder | Sequence[Encoder], views: Sequence[Any]
) -> Sequence[Encoder]:
    if not isinstance(views, Sequence):
        raise TypeError(
            f"views is a {type(views).__name__}; expected a list with one entry for "
            "each argument of the criterion."
        )
    if not isinstance(encoders, tuple | list):
        return [encoders] * len(views)  # type: ignore[list-item]
    if len(encoders) != len(views):
        raise ValueError(
            f"{len(encoders)} encoders came with {len(views)} views; give one encoder "
            "for all views, or one for each."
        )
    return encoders


def _module_behind(encoder: Any) -> nn.Module | None:
    if isinstance(encoder, functools.partial):
        return _module_behind(encoder.func)
    if isinstance(encoder, nn.Module):
        return encoder
    owner = getattr(encoder, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None
