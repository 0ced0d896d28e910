"""Do perturbations that are made for one model mislead the others?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.attacks import Attack, notices
from lightly_adv.batch_norm import routes
from lightly_adv.evaluation import batches, verdicts
from lightly_adv.evaluation.transfer_report import TransferReport
from lightly_adv.evaluation.untouched import Untouched
from lightly_adv.functional import precision
from lightly_adv.isolation import rng
from lightly_adv.pretext import PretextTask


def measure_transfer(
    models: Mapping[str, nn.Module] | nn.ModuleDict,
    loader: Iterable[Any],
    attack: Attack,
    *,
    max_samples: int | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
) -> TransferReport:
    """Perturb images for each model in turn, and show them to all of them.

    The models are classifiers, or pretext tasks. A task asks its question about a
    image, the attack perturbs what the network sees, and the perturbation is put back
    to where it is in the image (`PretextTask.restore`). Then every task asks about
    the perturbed image what it had asked about the clean one. All draw from the same
    seed, so that equal tasks ask equal questions.

    As with `evaluate_robustness`, the models are afterwards what they were. Where
    BatchNorm layers of tasks have routes, clean images take "clean" and perturbed
    ones "adv".

    Args:
        models: Two or more classifiers of the same classes, or pretext tasks, by name.
            For an ensemble of tasks, its `tasks`.
        loader: Batches (images, ...); for classifiers (images, labels, ...).
        attack: The attack. Noise of a random start lowers the cosines, and differs from
            model to model; `random_start=False` has none. For pretext tasks the threat
            model is in pixels, without `normalize`.
        max_samples: Use only that many images, the first ones. Where the data come
            class by class, give a loader that does not.
        device: Where to compute; the models are moved there, and stay there. None
            stands for the device of the first one.
        seed: Seed of questions and noise.
        progress: Show a progress bar.

    Returns:
        Accuracies in percent, and cosines.

    Raises:
        TypeError: If a batch does not hold what is needed.
        ValueError: If there are fewer than two models, if tasks and classifiers are
            mixed, if perturbations differ in size from the images, if classifiers
            differ in their number of classes, or if there is no image.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> from lightly_adv.pretext.ensemble import PretextEnsemble
        >>> ensemble = PretextEnsemble(["rotation", "selfie"], "resnet8_tiny")
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=2, random_start=False)
        >>> loader = [torch.rand(4, 3, 32, 32)]
        >>> found = measure_transfer(ensemble.tasks, loader, attack)
        >>> found.names, len(found.accuracy), round(found.cosine[0][0], 3)
        (('rotation', 'selfie'), 2, 1.0)
    """
    members = dict(models.items())
    _check(members, attack)
    where = batches.place(next(iter(members.values())), device)
    with ExitStack() as stack:
        stack.enter_context(notices.once(set()))
        untouched = {
            name: stack.enter_context(
                verdicts.undisturbed(
                    member, device=batches.place(member, where), seed=seed
                )
            )
            for name, member in members.items()
        }
        bar = stack.enter_context(
            tqdm(unit="images", desc="transfer", disable=not progress)
        )
        asked = _asked(untouched, loader, where, limit=max_samples)
        total, count = _sum(asked, attack, seed, bar)
    clean, *rows = (tuple(row) for row in (total / count).tolist())
    return TransferReport(
        names=tuple(members),
        clean_accuracy=clean,
        accuracy=tuple(rows[: len(members)]),
        cosine=tuple(rows[len(members) :]),
        attack=attack.settings(),
        threat_model=attack.threat_model,
        num_samples=count,
        seed=seed,
    )


def _asked(
    members: Mapping[str, Untouched],
    loader: Iterable[Any],
    device: torch.device,
    *,
    limit: int | None,
) -> Iterator[tuple[Tensor, list[_Asked]]]:
    """Yield the images of each batch, up to a limit, and the models to call."""
    tasks: list[_Asked] = [
        _Task(member, member.model)
        for member in members.values()
        if isinstance(member.model, PretextTask)
    ]
    unpack = batches.without_labels if tasks else verdicts.unpack
    for images, labels in batches.first(loader, limit, unpack):
        images, labels = _ordinary(images, device), _ordinary(labels, device).long()
        yield (
            images,
            tasks or [_Classification(member, labels) for member in members.values()],
        )


def _sum(
    asked: Iterable[tuple[Tensor, list[_Asked]]],
    attack: Attack,
    seed: int,
    bar: tqdm[Any],
) -> tuple[Tensor, int]:
    """Return the sums of `_measure` over all images, and how many these are."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for index, (images, who) in enumerate(asked):
        found = _measure(who, images, attack, key=(seed, 0, index))
        total = total + len(images) * found.double().cpu()
        count += len(images)
        bar.update(len(images))
    return total, count


class _Task:
    """A pretext task, in the state of the beginning whenever it is asked."""

    def __init__(self, untouched: Untouched, task: PretextTask) -> None:
        self.name = type(task).__name__
        self.draw, self.accuracy, self.restore = task.draw, task.accuracy, task.restore
        self._untouched, self._task = untouched, task

    def logits(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self._untouched.renew()
        return self._task.logits(inputs.clone(), targets)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self._untouched.renew()
        return self._task.loss(inputs.clone(), targets)


class _Classification:
    """A classifier and the labels of a batch, in the manner of a pretext task."""

    name = "the classifier"

    def __init__(self, model: nn.Module, labels: Tensor) -> None:
        self.model = model
        self.labels = labels

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return images, self.labels

    def logits(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return verdicts.checked_logits(self.model(inputs), targets)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.model(inputs), targets, reduction="sum")

    def accuracy(self, logits: Tensor, targets: Tensor) -> Tensor:
        return 100 * (logits.argmax(dim=1) == targets).float().mean()

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs


_Asked = _Task | _Classification


def _measure(
    asked: Sequence[_Asked], images: Tensor, attack: Attack, *, key: Sequence[int]
) -> Tensor:
    """Return clean accuracies, the matrix of accuracies and that of cosines."""
    threat_model = attack.threat_model
    box = threat_model.box(images)

    def answers(shown: Tensor, route: str) -> Tensor:
        return torch.stack([_accuracy(x, shown, key, route) for x in asked])

    def perturbed(delta: Tensor) -> Tensor:
        # Where a task changes values, what fits its inputs can lead out of the range.
        return threat_model.apply(images, delta.clamp(box.lower, box.upper), box)

    deltas = [
        box.std * _perturbation(each, images, attack, key=(*key, number))
        for number, each in enumerate(asked)
    ]
    clean = answers(images, routes.CLEAN)
    accuracy = [answers(perturbed(delta), routes.ADV) for delta in deltas]
    columns = torch.stack([F.normalize(x.flatten(1), dim=1) for x in deltas], dim=1)
    cosine = (columns @ columns.mT).mean(dim=0)
    return torch.cat([clean[None], torch.stack(accuracy), cosine])


def _accuracy(asked: _Asked, images: Tensor, key: Sequence[int], route: str) -> Tensor:
    inputs, targets = asked.draw(images, rng.batch_generator(*key))
    with _route(asked, route):
        return asked.accuracy(asked.logits(inputs, targets), targets)


def _perturbation(
    asked: _Asked, images: Tensor, attack: Attack, *, key: Sequence[int]
) -> Tensor:
    """Return what the attack adds to the images to mislead one model."""
    *batch, number = key
    inputs, targets = asked.draw(images, rng.batch_generator(*batch))
    with _route(asked, routes.ADV):
        (perturbed,) = attack(
            lambda views: asked.loss(views[0], targets),
            [inputs],
            generator=rng.batch_generator(*batch, number),
        )
    delta = asked.restore(perturbed - inputs, targets)
    if delta.shape != images.shape:
        raise ValueError(
            f"{asked.name} restores perturbations to {tuple(delta.shape)}, "
            f"but the images are {tuple(images.shape)}; other models cannot be shown "
            "what was perturbed for it."
        )
    return delta


def _route(asked: _Asked, route: str) -> AbstractContextManager[None]:
    """Classifiers are taken as they are, like by `evaluate_robustness`."""
    return routes.bn_route(route) if isinstance(asked, _Task) else nullcontext()


def _ordinary(tensor: Tensor, device: torch.device) -> Tensor:
    """Attacks differentiate, which tensors made in inference mode do not allow."""
    return precision.normal_tensor(tensor.to(device))


def _check(members: Mapping[str, nn.Module], attack: Attack) -> None:
    if len(members) < 2:
        raise ValueError(
            f"models={list(members)}; expected at least two, between which "
            "perturbations can be transferred."
        )
    tasks = [name for name, x in members.items() if isinstance(x, PretextTask)]
    if tasks and len(tasks) < len(members):
        others = [name for name in members if name not in tasks]
        raise ValueError(
            f"{tasks} are pretext tasks, {others} are not; compare either tasks or "
            "classifiers, which answer questions of different kinds."
        )
    if tasks and attack.threat_model.normalize is not None:
        raise ValueError(
            "the threat model has normalize=, but pretext tasks take pixels in [0, 1] "
            "and normalise inside; use ThreatModel(normalize=None)."
        )
