"""How good and how robust an encoder is, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv import APGD, ThreatModel
from lightly_adv.evaluation.encoders.neighbors import NeighborBank
from lightly_adv.evaluation.encoders.objectives import KNNCrossEntropy
from lightly_adv.functional import feature_distances
from lightly_adv.models import Normalize, normalization_of
from robustified.data import Part, Sets
from robustified.settings import EPS, TESTED, Settings

Flags = dict[str, list[bool]]
Attacked = Callable[[Tensor, Tensor, float], Tensor]
"""From images, labels and eps to attacked images."""

DECAY = 1e-3
"""Weight decay of the linear probe."""


class OnPixels(nn.Module):
    """An encoder that normalises its images itself.

    Args:
        backbone: A network of timm.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize(normalization_of(backbone))
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features of images in [0, 1]."""
        images = images.contiguous(memory_format=torch.channels_last)
        found: Tensor = self.backbone(self.normalize(images))
        return found


def measure(
    before: nn.Module, after: nn.Module, sets: Sets, settings: Settings
) -> dict[str, Any]:
    """Return distances, and which test images are classified correctly."""
    teacher, student = OnPixels(before), OnPixels(after)
    bank = features(student, sets.bank.images)
    return {
        **_distances(teacher, student, sets.test, settings),
        **neighbor_flags(student, bank, sets, sets.test, settings, TESTED),
        **_probe_flags(student, bank, sets, settings),
    }


def neighbor_flags(
    encoder: nn.Module,
    bank: Tensor,
    sets: Sets,
    part: Part,
    settings: Settings,
    radii: tuple[float, ...],
) -> Flags:
    """Return whether nearest neighbours are right, also under APGD on the vote."""
    voters = NeighborBank(bank, sets.bank.labels, k=settings.neighbors)

    def attacked(images: Tensor, labels: Tensor, eps: float) -> Tensor:
        attack = APGD(ThreatModel(eps=eps), steps=settings.attack_steps)
        objective = KNNCrossEntropy(encoder, voters, labels)
        return attack(objective, [images])[0]

    return _flags(
        "knn", lambda x: voters.predict(encoder(x)), attacked, part, radii=radii
    )


def features(encoder: nn.Module, images: Tensor) -> Tensor:
    """Return the features of images, batch by batch."""
    with torch.no_grad():
        return torch.cat([encoder(part) for part in images.split(128)])


def _probe_flags(
    encoder: nn.Module, bank: Tensor, sets: Sets, settings: Settings
) -> Flags:
    classifier = nn.Sequential(encoder, _fitted(bank, sets.bank.labels)).eval()
    classifier.requires_grad_(False)

    def attacked(images: Tensor, labels: Tensor, eps: float) -> Tensor:
        attack = APGD(ThreatModel(eps=eps), steps=settings.attack_steps)
        return attack.perturb(classifier, images, labels)

    return _flags("linear", lambda x: classifier(x).argmax(dim=1), attacked, sets.test)


def _fitted(bank: Tensor, labels: Tensor) -> nn.Module:
    """Return a linear classifier of features, which are standardised inside."""
    std, mean = torch.std_mean(bank, dim=0)
    inputs = (bank - mean) / (std + 1e-6)
    head = nn.Linear(bank.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(head(inputs), labels)
        value = value + DECAY * head.weight.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        head.weight /= std + 1e-6
        head.bias -= head.weight @ mean
    return head


def _flags(
    name: str,
    predict: Callable[[Tensor], Tensor],
    attacked: Attacked,
    part: Part,
    *,
    radii: tuple[float, ...] = TESTED,
) -> Flags:
    """Attack what still stands, from the smallest ball to the largest."""
    found: dict[float, list[Tensor]] = {eps: [] for eps in (0.0, *radii)}
    for images, labels in _batches(part):
        with torch.no_grad():
            right = predict(images) == labels
        found[0.0].append(right)
        for eps in radii:
            right = right.clone()
            if right.any():
                perturbed = attacked(images[right], labels[right], eps)
                with torch.no_grad():
                    right[right.clone()] = predict(perturbed) == labels[right]
            found[eps].append(right)
    return {
        f"{name}_{round(eps * 255)}": torch.cat(parts).tolist()
        for eps, parts in found.items()
    }


def _distances(
    teacher: nn.Module, student: nn.Module, part: Part, settings: Settings
) -> dict[str, list[float]]:
    """Return squared distances from the teacher, relative to its squared length."""
    attack = APGD(ThreatModel(eps=EPS), steps=settings.attack_steps // 2)
    found: dict[str, list[Tensor]] = {"clean_distance": [], "attacked_distance": []}
    for images, _ in _batches(part):
        with torch.no_grad():
            target = teacher(images)
        size = feature_distances.size(feature_distances.squared_l2, target)

        def distance(x: Tensor, target: Tensor = target) -> Tensor:
            return feature_distances.squared_l2(student(x), target)

        (perturbed,) = attack(lambda views: distance(views[0]), [images])
        with torch.no_grad():
            found["clean_distance"].append(distance(images) / size)
            found["attacked_distance"].append(distance(perturbed) / size)
    return {name: torch.cat(parts).tolist() for name, parts in found.items()}


def _batches(part: Part) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(part.images.split(100), part.labels.split(100), strict=True)
