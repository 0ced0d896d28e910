"""PGD and FGSM: parameter choices of the one loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightly_adv.attacks.attack import Attack


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent with a random start, 10 steps of eps / 4.

    - [0] Towards Deep Learning Models Resistant to Adversarial Attacks, 2017,
      https://arxiv.org/abs/1706.06083

    See `Attack` for the arguments.

    Examples:
        >>> import torch
        >>> from lightly_adv import PGD, ThreatModel
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=10, step_size=2 / 255)
        >>> views = torch.rand(2, 3, 8, 8)
        >>> adversarial, = attack(lambda views: views[0].square().sum(), [views])
        >>> adversarial.shape
        torch.Size([2, 3, 8, 8])
    """


@dataclass(frozen=True)
class FGSM(Attack):
    """Fast gradient sign method: one step of length eps from the view itself.

    With `random_start=True` and `step_size=1.25 * eps` it is the attack of fast
    adversarial training [1].

    - [0] Explaining and Harnessing Adversarial Examples, 2014,
      https://arxiv.org/abs/1412.6572
    - [1] Fast is better than free, 2020, https://arxiv.org/abs/2001.03994

    See `Attack` for the arguments.

    Examples:
        >>> import torch
        >>> from lightly_adv import FGSM, ThreatModel
        >>> attack = FGSM(ThreatModel(eps=0.1))
        >>> views = torch.full((1, 1, 1, 1), 0.5)
        >>> attack(lambda views: -views[0].sum(), [views])[0].item()
        0.4000000059604645
    """

    steps: int = field(default=1, init=False)
    random_start: bool = False

    @property
    def resolved_step_size(self) -> float:
        """Length of the step in pixels: `step_size`, or eps."""
        return self.threat_model.eps if self.step_size is None else self.step_size
