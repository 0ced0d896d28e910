"""Run an attack through the table of what every attack must do."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import AttackLike, ClassificationObjective
from lightly_adv.functional import norms
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm, NormalizeStats, Objective

EPS: dict[Norm, float] = {"Linf": 8 / 255, "L2": 0.5, "L1": 12.0}
"""A usual radius for every norm, in pixels."""

NORMALIZE: NormalizeStats = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
"""With which the checks normalise images: another mean and std for each channel."""


class AttackTester:
    """Runs an attack through the table of what every attack must do.

    Args:
        create: Makes the attack for a threat model, such as `PGD`.
        norms: The norms that the attack supports.
        classifies: Whether the attack asks for a `ClassificationObjective`.

    Examples:
        >>> from lightly_adv import PGD
        >>> tester = AttackTester(PGD)
        >>> for check in tester.checks():
        ...     tester.run(check)
    """

    def __init__(
        self,
        create: Callable[[ThreatModel], AttackLike],
        *,
        norms: Sequence[Norm] = ("Linf", "L2", "L1"),
        classifies: bool = False,
    ) -> None:
        self._create = create
        self._norms = norms
        self._classifies = classifies

    @classmethod
    def checks(cls) -> list[str]:
        """Names of all checks, for instance to parametrise a test with."""
        return [name for name in vars(cls) if name.startswith("check_")]

    def run(self, check: str) -> None:
        """Run one check for every norm.

        Raises:
            AssertionError: If the attack fails it, with the norm and what was seen.
        """
        for norm in self._norms:
            getattr(self, check)(ThreatModel(norm=norm, eps=EPS[norm]))

    def check_ball_and_range(self, threat_model: ThreatModel) -> None:
        """Perturbed views stay in the ball and in [0, 1], normalised or not."""
        for normalize in (None, NORMALIZE):
            each = replace(threat_model, normalize=normalize)
            view = _images()
            stats = normalize or {"mean": [0.0] * 3, "std": [1.0] * 3}
            mean, std = (
                torch.tensor(stats[key])[:, None, None] for key in ("mean", "std")
            )
            found = self._attack(each, [(view - mean) / std])[0]
            moved = found * std + mean
            size = float(norms.norm(moved - view, norm=each.norm).max())
            slack = 1e-4 if each.norm == "L1" else 1e-5
            _require(size <= each.eps + slack, each, f"moved by {size}")
            low, high = float(moved.min()), float(moved.max())
            _require(-1e-5 <= low <= high <= 1 + 1e-5, each, f"spans {low} to {high}")
            _require(size > 0, each, "did not move at all")

    def check_shape_and_dtype(self, threat_model: ThreatModel) -> None:
        """Shape and dtype of the views are kept."""
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            view = _images().to(dtype)
            found = self._attack(threat_model, [view])[0]
            seen = f"{found.dtype} {tuple(found.shape)} for {dtype}"
            _require(
                found.dtype == dtype and found.shape == view.shape, threat_model, seen
            )

    def check_inputs_untouched(self, threat_model: ThreatModel) -> None:
        """The views, their `.grad`, parameters' `.grad` and random streams stay."""
        network = _network()
        view = _images()
        before, state = view.clone(), torch.get_rng_state()
        python = random.getstate()
        found = self._attack(threat_model, [view], network=network)[0]
        _require(torch.equal(view, before), threat_model, "changed its input")
        _require(
            view.grad is None and not view.requires_grad, threat_model, "left a grad"
        )
        _require(not found.requires_grad, threat_model, "returned part of a graph")
        grads = [each.grad for each in network.parameters()]
        _require(grads == [None] * len(grads), threat_model, "left parameter gradients")
        same = torch.equal(state, torch.get_rng_state()) and python == random.getstate()
        _require(same, threat_model, "drew from the global random state")

    def check_eps_zero(self, threat_model: ThreatModel) -> None:
        """With eps = 0 the views come back bit for bit."""
        for normalize in (None, NORMALIZE):
            view = _images() * 0.1
            each = replace(threat_model, eps=0.0, normalize=normalize)
            view = view + 0.3 if normalize else view
            found = self._attack(each, [view])[0]
            _require(torch.equal(found, view), each, "moved at eps = 0")

    def check_repeatable(self, threat_model: ThreatModel) -> None:
        """The same generator state gives the same result."""
        first, second = (self._attack(threat_model, [_images()])[0] for _ in range(2))
        _require(torch.equal(first, second), threat_model, "differs when run again")

    def check_keeps_nothing(self, threat_model: ThreatModel) -> None:
        """What one batch leaves behind does not reach the next.

        State of a run, such as a momentum, belongs into the `memory` of `update`.
        """
        attack = self._create(threat_model)
        first, _, again = (
            self._attack(threat_model, [each], attack=attack)[0]
            for each in (_images(), 1 - _images(), _images())
        )
        _require(torch.equal(first, again), threat_model, "remembers the last batch")

    def check_raises_loss(self, threat_model: ThreatModel) -> None:
        """The loss of a convex problem does not fall."""
        target = torch.full((3, 3, 8, 8), 0.2)

        def loss(views: Sequence[Tensor]) -> Tensor:
            return (views[0] - target).square().flatten(1).sum(1)

        view = _images()
        objective = _first_class(_Near(loss)) if self._classifies else loss
        found = self._create(threat_model)(objective, [view], generator=_generator())
        rise = objective(found) - objective([view])
        _require(bool((rise > 0).all()), threat_model, f"raised the loss by {rise}")

    def check_five_dimensions(self, threat_model: ThreatModel) -> None:
        """Stacks of tiles, (B, T, C, H, W), are perturbed as one sample each."""
        stack = torch.stack([_images(), _images()], dim=1)
        attack = self._create(replace(threat_model, normalize=NORMALIZE))
        normal = (stack - 0.5) / 4
        objective = self._objective(_Square())
        found = attack(objective, [normal])[0]
        _require(found.shape == stack.shape, threat_model, f"gave {found.shape}")

    def check_unused_view(self, threat_model: ThreatModel) -> None:
        """A view that the objective does not depend on stays as it is."""
        first, second = _images(), _images()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._attack(threat_model, [first, second])
        _require(torch.equal(found[1], second), threat_model, "moved an unused view")
        _require(not torch.equal(found[0], first), threat_model, "did not move at all")

    def check_inference_mode(self, threat_model: ThreatModel) -> None:
        """It works inside of `torch.inference_mode`, as in Lightning's validation."""
        network = _network()
        outside = self._attack(threat_model, [_images()], network=network)[0]
        with torch.inference_mode():
            inside = self._attack(threat_model, [_images()], network=network)[0]
        _require(
            torch.equal(inside, outside), threat_model, "differs in inference mode"
        )

    def _attack(
        self,
        threat_model: ThreatModel,
        views: list[Tensor],
        *,
        network: nn.Module | None = None,
        attack: AttackLike | None = None,
    ) -> list[Tensor]:
        network = (network or _network()).to(views[0].dtype)
        attack = attack or self._create(threat_model)
        return attack(self._objective(network), views, generator=_generator())

    def _objective(self, network: nn.Module) -> Objective:
        if self._classifies:
            return _first_class(network)
        return lambda views: network(views[0]).square().sum()


def _images() -> Tensor:
    """Images with pixels at both ends of the range."""
    drawn = torch.rand(3, 3, 8, 8, generator=_generator())
    return (1.5 * drawn - 0.25).clamp(0, 1)


class _Square(nn.Module):
    """Logits from stacks of any shape, curved in the pixels."""

    def forward(self, views: Tensor) -> Tensor:
        return views.flatten(1).square()


class _Near(nn.Module):
    """Two logits, of which the second one is small and rises with a loss."""

    def __init__(self, loss: Callable[[Sequence[Tensor]], Tensor]) -> None:
        super().__init__()
        self._loss = loss

    def forward(self, view: Tensor) -> Tensor:
        loss = self._loss([view]) / view[0].numel()
        return torch.stack([torch.ones_like(loss), loss], dim=1)


def _first_class(network: nn.Module) -> ClassificationObjective:
    """All images of the checks belong to the first class."""
    return ClassificationObjective(network, torch.zeros(3, dtype=torch.long))


def _network() -> nn.Module:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 16), nn.Tanh(), nn.Linear(16, 4)
    )
    generator = _generator()
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 1 / math.sqrt(parameter.shape[-1])
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


def _generator() -> Generator:
    return Generator().manual_seed(0)


def _require(holds: bool, threat_model: ThreatModel, seen: str) -> None:
    assert holds, f"under {threat_model.norm}, the attack {seen}"
