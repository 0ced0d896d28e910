"""The momentum iterative fast gradient sign method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightly_adv.attacks import Attack
from lightly_adv.threat_model import PerturbationBox


@dataclass(frozen=True)
class MIFGSM(Attack):
    """Follow the running sum of normalised gradients instead of the last one.

    Each gradient is divided by its L1 norm, per sample, and added to the sum of those
    before it, which decays by a factor in every step. The sum points past the poor
    local maxima of one network, so that the result fools others more often, too.

    - [0] Boosting Adversarial Attacks with Momentum, 2018,
      https://arxiv.org/abs/1710.06081

    Args:
        threat_model: See `Attack`.
        steps: See `Attack`.
        step_size: Length of a step in pixels. Defaults to eps / steps, as in [0].
        random_start: See `Attack`; [0] starts at the image itself.
        restarts: See `Attack`.
        decay: Factor of the sum in every step, 0 or more. With 0 the attack is the
            iterative fast gradient sign method, with 1 no gradient is forgotten.

    Raises:
        ValueError: If `decay` is negative or not finite; otherwise see `Attack`.

    Examples:
        >>> from lightly_adv import ThreatModel
        >>> attack = MIFGSM(ThreatModel(eps=8 / 255), steps=4)
        >>> views = torch.rand(2, 3, 8, 8)
        >>> adversarial, = attack(lambda views: views[0].square().sum(), [views])
        >>> bool((adversarial - views).abs().max() <= 8 / 255 + 1e-6)
        True
    """

    random_start: bool = False
    decay: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise ValueError(f"decay={self.decay} must be finite and not negative.")

    @property
    def resolved_step_size(self) -> float:
        """Length of one step in pixels: `step_size`, or eps / steps."""
        if self.step_size is not None:
            return self.step_size
        return self.threat_model.eps / self.steps

    def update(
        self, delta: Tensor, grad: Tensor, box: PerturbationBox, memory: dict[str, Any]
    ) -> Tensor:
        """Add the gradient to the momentum, and take a step along that."""
        # The sum lives in `memory`, which is empty when a run begins: an attack is
        # frozen, and what it kept would leak from one batch into the next.
        momentum = self.decay * memory.get("momentum", 0.0) + _normalised(grad, box)
        memory["momentum"] = momentum
        return self.threat_model.ascend(
            delta, momentum, box, step_size=self.resolved_step_size
        )


def _normalised(grad: Tensor, box: PerturbationBox) -> Tensor:
    """Divide a gradient by the L1 norm of what it is in pixels, sample by sample."""
    grad = grad.to(box.std.dtype)
    in_pixels = (grad / box.std).flatten(1)
    norm = in_pixels.abs().sum(1).clamp_min(torch.finfo(grad.dtype).tiny)
    return grad / norm.view(-1, *[1] * (grad.dim() - 1))
