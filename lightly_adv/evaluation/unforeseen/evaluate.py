"""Measure accuracy under attacks that a classifier was not trained against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from typing_extensions import Unpack

from lightly_adv.evaluation import sweep
from lightly_adv.evaluation.batches import Batch
from lightly_adv.evaluation.evaluation import (
    Evaluation,
    EvaluationOptions,
    check_options,
)
from lightly_adv.evaluation.unforeseen.attack import UnforeseenAttack, resolve
from lightly_adv.evaluation.unforeseen.parametrization import maximize
from lightly_adv.evaluation.unforeseen.report import UnforeseenReport
from lightly_adv.isolation import rng
from lightly_adv.types import NormalizeStats

SMALLEST = 4
"""Least side of an image; below that, layers of snow have no flake."""


def evaluate_unforeseen(
    model: nn.Module,
    loader: Iterable[Any],
    attacks: Sequence[str | UnforeseenAttack] | None = None,
    *,
    steps: int = 200,
    normalize: NormalizeStats | None = None,
    **options: Unpack[EvaluationOptions],
) -> UnforeseenReport:
    """Measure how many images are correctly classified under attacks of ten kinds.

    Every attack leads the images to a wrong class that is drawn at random, the same
    for all attacks, and is run at several strengths, each on all of the images.

    - [0] Testing Robustness Against Unforeseen Adversaries, 2019,
      https://arxiv.org/abs/1908.08016

    Args:
        model: Maps images of shape (B, C, H, W) to logits of shape (B, classes).
        loader: Batches (images, labels) or (images, labels, filenames), with images
            of one size.
        attacks: Names of attacks, or attacks with strengths of your own. Defaults to
            the ten of [0].
        steps: Number of gradient steps of each attack; 200 in the paper.
        normalize: Mean and std that the transform of the loader has normalised with.
        **options: `max_samples`, `device`, `seed`, `progress` and `state`; see
            `EvaluationOptions`.

    Raises:
        TypeError: If a batch or the output of the model is of the wrong type.
        ValueError: If the loader is empty, if images leave [0, 1] or do not suit an
            attack, if the logits are NaN or too few for a label, if there are fewer
            than two classes, if `steps` is less than 1, or if the state is that of
            another evaluation.
        UnconfirmedError: See `evaluate_robustness`.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
        >>> loader = [(torch.rand(8, 3, 16, 16), torch.arange(8) % 5)]
        >>> report = evaluate_unforeseen(model, loader, ["l1", "jpeg_linf"], steps=2)
        >>> report.num_samples, [len(each) for each in report.accuracies.values()]
        (8, [6, 6])
    """
    check_options(evaluate_unforeseen, options)
    chosen = resolve(attacks)
    if steps < 1:
        raise ValueError(f"steps={steps} is too small; expected at least 1.")
    strengths = {attack.name: attack.eps for attack in chosen}
    evaluation = Evaluation(
        {"model": model},
        {"attacks": strengths, "steps": steps, "normalize": normalize},
        **options,
    )
    found = sweep.run(
        evaluation,
        loader,
        {name: len(eps) for name, eps in strengths.items()},
        _change(chosen, steps),
        normalize=normalize,
        check=partial(_check_images, chosen),
        description="unforeseen",
    )
    report = UnforeseenReport(
        attacks=[attack.strengths for attack in chosen],
        clean=found.clean,
        flags=found.flags,
        image_size=found.image_size,
        num_classes=found.num_classes,
        steps=steps,
        **evaluation.facts(),
    )
    report.warnings.extend(report.caveats(probabilities=found.probabilities))
    return report


def attack_images(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    attack: UnforeseenAttack,
    *,
    eps: float,
    steps: int,
    generator: Generator,
) -> Tensor:
    """Return images that an attack leads to other classes.

    Args:
        model: Maps pixels to logits; its parameters should not require gradients.
        images: Pixels of shape (B, C, H, W), float32 in [0, 1].
        targets: The classes to lead to, of shape (B,).
        attack: The attack.
        eps: Its strength.
        steps: Number of gradient steps.
        generator: Source of all that is drawn, on the CPU.

    Returns:
        Pixels of shape (B, C, H, W) in [0, 1].
    """

    def objective(views: Tensor) -> Tensor:
        return -F.cross_entropy(model(views), targets, reduction="none")

    parametrization = attack.parametrize(images, eps, generator)
    return maximize(objective, parametrization, steps=steps)


def _change(attacks: Sequence[UnforeseenAttack], steps: int) -> sweep.Change:
    """Return the function that attacks the images of a batch."""
    numbered = {attack.name: (n, attack) for n, attack in enumerate(attacks, start=1)}

    def change(
        model: nn.Module, batch: Batch, classes: int
    ) -> Callable[[str, int], Tensor]:
        generator = rng.batch_generator(*batch.key)
        targets = _targets(batch.labels, classes, generator)
        targets = _possible(targets, batch.labels, model(batch.images))

        def attacked(name: str, level: int) -> Tensor:
            number, attack = numbered[name]
            return attack_images(
                model,
                batch.images,
                targets,
                attack,
                eps=attack.eps[level],
                steps=steps,
                generator=rng.batch_generator(*batch.key, number, level),
            )

        return attacked

    return change


def _targets(labels: Tensor, classes: int, generator: Generator) -> Tensor:
    """Draw a wrong class for each image."""
    shift = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + shift.to(labels)).remainder(classes)


def _possible(targets: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    """Return the next class that the model does not rule out, by a logit of -inf."""
    count = logits.shape[1]
    possible = (logits > -torch.inf).scatter(1, labels[:, None], value=False)
    ahead = (torch.arange(count, device=labels.device) - targets[:, None]) % count
    steps = ahead.where(possible, count).amin(dim=1) % count
    return (targets + steps) % count


def _check_images(attacks: Sequence[UnforeseenAttack], batch: Batch) -> None:
    """Validate images at first, and not when the attack has its turn in hours."""
    height, width = batch.images.shape[2:]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"the images are {height} x {width}; expected at least {SMALLEST} x "
            f"{SMALLEST}. Resize them."
        )
    for attack in attacks:
        attack.parametrize(batch.images[:1], attack.eps[0], torch.Generator())
