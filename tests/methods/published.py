"""The published methods as the tests train them: tiny, with the views they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel, create_method
from lightly_adv.data import ContrastiveViews
from lightly_adv.functional.schedules import StrengthSchedule
from lightly_adv.methods import AdvCL, AdversarialModule
from tests.cli.tiny import TinyDataModule

SIZE = 8
BATCH = 8
EPS = 8 / 255


class TinyViews(TinyDataModule):
    """Views of random images, on the command line, too."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        super().__init__(batch_size=BATCH, transform=transform)


@dataclass(frozen=True)
class Published:
    """A method, and what its step is expected to do.

    Args:
        name: Its registered name.
        views: Makes the transform of its views.
        options: Its options.
        steps: Steps of its attack in the paper.
        forward: Images that go forward in a step, as multiples of the batch.
        backward: Those of them that go backward.
        tracked: How often each BatchNorm layer of the backbone is updated in a step, by
            the name of its route; "" for one without routes.
    """

    name: str
    views: Callable[[], ContrastiveViews]
    steps: int
    forward: int
    backward: int
    tracked: dict[str, int]
    options: dict[str, Any] = field(default_factory=dict)
    copies: tuple[str, ...] = ("backbone",)

    def create(self, *, steps: int = 1, **options: Any) -> Any:
        torch.manual_seed(0)
        attack = PGD(ThreatModel(eps=EPS), steps=steps, step_size=EPS / 4)
        values = {"backbone": network(), "attack": attack, **self.options, **options}
        module = create_method(self.name, **values)
        assert isinstance(module, AdversarialModule)
        if isinstance(module, AdvCL):
            module.fit_clusters([self.batch()])
        return module

    def data(self) -> TinyViews:
        return TinyViews(self.views())

    def batch(self) -> list[Tensor]:
        torch.manual_seed(1)
        views, _ = next(iter(self.data().train_dataloader()))
        return views if isinstance(views, list) else [views]


def network() -> nn.Sequential:
    """A backbone of 6 features in which all that BatchNorm does can be seen."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def views(*counts: int, **options: Any) -> Callable[[], ContrastiveViews]:
    return lambda: ContrastiveViews(*counts, size=SIZE, padding=1, **options)


METHODS = [
    Published("deacl", views(0, 1), 5, 8, 7, {"": 1}, copies=("backbone", "teacher")),
    Published("rocl", views(2), 7, 11, 10, {"": 1}),
    Published(
        "dynacl",
        views(2, strength=StrengthSchedule(epochs=2, period=1)),
        5,
        14,
        12,
        {"clean": 1, "adv": 1},
        options={"period": 1},
        copies=("backbone", "online_backbone"),
    ),
    Published("air", views(2, 0, 1), 5, 15, 15, {"clean": 2, "adv": 1}),
    Published(
        "advcl",
        views(2, 1, 1, min_scale=0.2),
        5,
        19,
        15,
        {"clean": 3, "adv": 1, "adv_ce": 1},
        options={"clusters": [2, 3], "radius": 2.0},
        copies=("backbone", "clean_encoder"),
    ),
]


@contextmanager
def counted_passes(*networks: nn.Module) -> Iterator[Counter[str]]:
    """Count the images that go forward through networks, and those that go back."""
    counts: Counter[str] = Counter()

    def count(network: nn.Module, images: Any, features: Tensor) -> None:
        counts["forward"] += len(features)
        counts["backward"] += len(features) if features.requires_grad else 0

    handles = [network.register_forward_hook(count) for network in networks]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def with_fixed_noise(module: AdversarialModule, *, size: float = 0.03) -> list[Tensor]:
    """Let `perturb` add noise of its own in place of an attack; return what it made."""
    made: list[Tensor] = []

    def perturb(loss: Any, *views: Tensor, **options: Any) -> Any:
        generator = torch.Generator().manual_seed(2)
        noise = [torch.rand(v.shape, generator=generator) * size for v in views]
        made.extend(v + n for v, n in zip(views, noise, strict=True))
        return made[0] if len(views) == 1 else list(made)

    module.perturb = perturb  # type: ignore[method-assign]
    return made
