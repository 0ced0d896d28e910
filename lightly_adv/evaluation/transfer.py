"""Do perturbations that are made for one model mislead the others?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from typing_extensions import Unpack

from lightly_adv.attacks import Attack, AttackLike, notices
from lightly_adv.attacks.attack_like import check_attack
from lightly_adv.batch_norm import routes
from lightly_adv.evaluation import batches, encoding
from lightly_adv.evaluation.batches import Batch, BatchResult
from lightly_adv.evaluation.classification import checked_logits
from lightly_adv.evaluation.evaluation import (
    Evaluation,
    EvaluationOptions,
    check_options,
)
from lightly_adv.evaluation.isolated_model import IsolatedModel
from lightly_adv.evaluation.transfer_report import TransferReport
from lightly_adv.functional import precision
from lightly_adv.isolation import rng
from lightly_adv.pretext import PretextTask


def measure_transfer(
    models: Mapping[str, nn.Module] | nn.ModuleDict,
    loader: Iterable[Any],
    attack: AttackLike,
    **options: Unpack[EvaluationOptions],
) -> TransferReport:
    """Perturb images for each model in turn, and show them to all of them.

    The models are classifiers, or pretext tasks. A task asks its question about an
    image, the attack perturbs what the network sees, and the perturbation is put back
    to where it is in the image (`PretextTask.restore`). Then every task asks about
    the perturbed image what it had asked about the clean one. All draw from the same
    seed, so that equal tasks ask equal questions. Where BatchNorm layers of tasks have
    routes, clean images take "clean" and perturbed ones "adv".

    Args:
        models: Two or more classifiers of the same classes, or pretext tasks, by name.
            For an ensemble of tasks, its `tasks`.
        loader: Batches (images, ...); for classifiers (images, labels, ...).
        attack: The attack, or an `AttackSchedule`, of which the final attack is taken.
            Noise of a random start lowers the cosines, and differs from model to model;
            `random_start=False` has none. For pretext tasks the threat model is in
            pixels, without `normalize`.
        **options: `max_samples`, `device`, `seed`, `progress` and `state`; see
            `EvaluationOptions`.

    Returns:
        Accuracies in percent, and cosines.

    Raises:
        TypeError: If the attack is not one, or if a batch does not hold what is needed.
        ValueError: If there are fewer than two models, if tasks and classifiers are
            mixed, if perturbations differ in size from the images, if classifiers
            differ in their number of classes, or if there is no image.
        UnconfirmedError: If a model was changed in a way that cannot be undone.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> from lightly_adv.pretext.ensemble import PretextEnsemble
        >>> ensemble = PretextEnsemble(["rotation", "selfie"], "resnet8_tiny")
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=2, random_start=False)
        >>> loader = [torch.rand(4, 3, 32, 32)]
        >>> report = measure_transfer(ensemble.tasks, loader, attack)
        >>> report.names, len(report.accuracy), round(report.cosine[0][0], 3)
        (('rotation', 'selfie'), 2, 1.0)
    """
    check_options(measure_transfer, options)
    members = dict(models.items())
    check_attack(attack)
    attack = attack.at(1.0)
    _check(members, attack)
    of_tasks = all(isinstance(member, PretextTask) for member in members.values())
    unpack = batches.without_labels if of_tasks else batches.unpack
    evaluation = Evaluation(
        members,
        {
            "attack": attack.settings(),
            "threat model": encoding.encode(attack.threat_model),
        },
        answers=_answers,
        **options,
    )
    with notices.once(set()), evaluation.isolated() as isolated:
        results = evaluation.run(
            batches.first(loader, evaluation.max_samples, unpack),
            partial(_measure, list(isolated.values()), attack),
            description="transfer",
            total=batches.count(loader, evaluation.max_samples),
        )
    clean, accuracy, cosine = (
        _mean(results, name) for name in ("clean", "accuracy", "cosine")
    )
    return TransferReport(
        names=tuple(members),
        clean_accuracy=tuple(clean.tolist()),
        accuracy=tuple(map(tuple, accuracy.tolist())),
        cosine=tuple(map(tuple, cosine.tolist())),
        attack=attack.settings(),
        threat_model=attack.threat_model,
        num_samples=sum(int(result.values["count"]) for result in results),
        **evaluation.facts(),
    )


def _mean(results: Sequence[BatchResult], name: str) -> Tensor:
    """Return the mean over images of what is known of each batch."""
    counts = [result.values["count"] for result in results]
    pairs = zip(counts, results, strict=True)
    total = sum(count * result.values[name][0] for count, result in pairs)
    return torch.as_tensor(total) / sum(counts)


class _Task:
    """A pretext task, in the state of the beginning whenever it is asked."""

    def __init__(self, model: IsolatedModel, task: PretextTask) -> None:
        self.name = type(task).__name__
        self.draw, self.accuracy, self.restore = task.draw, task.accuracy, task.restore
        self._model, self._task = model, task

    def logits(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self._model.renew()
        return self._task.logits(inputs.clone(), targets)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self._model.renew()
        return self._task.loss(inputs.clone(), targets)

    def route(self, route: str) -> AbstractContextManager[None]:
        return routes.bn_route(route)


class _Classifier:
    """A classifier and the labels of a batch, in the manner of a pretext task."""

    name = "the classifier"

    def __init__(self, model: IsolatedModel, labels: Tensor) -> None:
        self.model = model
        self.labels = labels

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return images, self.labels

    def logits(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return checked_logits(self.model(inputs), targets)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.model(inputs), targets, reduction="sum")

    def accuracy(self, logits: Tensor, targets: Tensor) -> Tensor:
        return 100 * (logits.argmax(dim=1) == targets).float().mean()

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs

    def route(self, route: str) -> AbstractContextManager[None]:
        """Classifiers are taken as they are, like by `evaluate_robustness`."""
        return nullcontext()


_Member = _Task | _Classifier


def _member(model: IsolatedModel, batch: Batch) -> _Member:
    if isinstance(model.model, PretextTask):
        return _Task(model, model.model)
    return _Classifier(model, precision.normal_tensor(batch.labels).long())


def _answers(model: IsolatedModel, batch: Batch) -> Tensor:
    """Return what a model is recognised by: its logits for the clean images."""
    member = _member(model, batch)
    inputs, targets = member.draw(batch.images, rng.batch_generator(*batch.key))
    with member.route(routes.CLEAN):
        return member.logits(inputs, targets).flatten(1)


def _measure(
    models: Sequence[IsolatedModel], attack: Attack, batch: Batch
) -> BatchResult:
    """Return clean accuracies, the matrix of accuracies and that of cosines."""
    images = precision.normal_tensor(batch.images)
    members = [_member(model, batch) for model in models]
    threat_model = attack.threat_model
    box = threat_model.box(images)

    def accuracies(shown: Tensor, route: str) -> Tensor:
        return torch.stack([_accuracy(x, shown, batch.key, route) for x in members])

    def perturbed(delta: Tensor) -> Tensor:
        # Where a task changes values, what fits its inputs can lead out of the range.
        return threat_model.apply(images, delta.clamp(box.lower, box.upper), box)

    deltas = [
        box.std * _perturbation(member, images, attack, key=(*batch.key, number))
        for number, member in enumerate(members)
    ]
    clean = accuracies(images, routes.CLEAN)
    accuracy = [accuracies(perturbed(delta), routes.ADV) for delta in deltas]
    columns = torch.stack([F.normalize(x.flatten(1), dim=1) for x in deltas], dim=1)
    cosine = (columns @ columns.mT).mean(dim=0)
    values = {"clean": clean, "accuracy": torch.stack(accuracy), "cosine": cosine}
    count = torch.tensor([len(images)])
    return BatchResult(
        values={"count": count, **{k: v[None] for k, v in values.items()}}
    )


def _accuracy(
    member: _Member, images: Tensor, key: Sequence[int], route: str
) -> Tensor:
    inputs, targets = member.draw(images, rng.batch_generator(*key))
    with member.route(route):
        return member.accuracy(member.logits(inputs, targets), targets)


def _perturbation(
    member: _Member, images: Tensor, attack: Attack, *, key: Sequence[int]
) -> Tensor:
    """Return what the attack adds to the images to mislead one model."""
    *batch, number = key
    inputs, targets = member.draw(images, rng.batch_generator(*batch))
    with member.route(routes.ADV):
        (perturbed,) = attack(
            lambda views: member.loss(views[0], targets),
            [inputs],
            generator=rng.batch_generator(*batch, number),
        )
    delta = member.restore(perturbed - inputs, targets)
    if delta.shape != images.shape:
        raise ValueError(
            f"{member.name} restores perturbations to {tuple(delta.shape)}, "
            f"but the images are {tuple(images.shape)}; other models cannot be shown "
            "what was perturbed for it."
        )
    return delta


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
