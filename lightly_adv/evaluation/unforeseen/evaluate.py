"""Measure accuracy under attacks that a classifier was not trained against."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lightly_adv.evaluation import batches, sweep
from lightly_adv.evaluation.evaluation import Batch, Evaluation
from lightly_adv.evaluation.unforeseen import scene, warnings
from lightly_adv.evaluation.unforeseen.attacks import UnforeseenAttack, resolve
from lightly_adv.evaluation.unforeseen.report import UnforeseenReport
from lightly_adv.evaluation.verdicts import Verdict
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
    max_samples: int | None = None,
    normalize: NormalizeStats | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
    state: str | os.PathLike[str] | None = None,
) -> UnforeseenReport:
    """Measure how many images a classifier gets right under attacks of ten kinds.

    Every attack leads the images to a wrong class that is drawn at random, the same
    for all attacks, and is run at several strengths, each on all of the images. As
    with `evaluate_robustness`, the model is afterwards what it was, and every process
    of a process group takes its share of the batches.

    - [0] Testing Robustness Against Unforeseen Adversaries, 2019,
      https://arxiv.org/abs/1908.08016

    Args:
        model: Maps images of shape (B, C, H, W) to logits of shape (B, classes).
        loader: Batches (images, labels) or (images, labels, filenames), with images
            of one size.
        attacks: Names of attacks, or attacks with strengths of your own. None stands
            for all ten.
        steps: Number of gradient steps of each attack; 200 in the paper.
        max_samples: Evaluate only the first that many images; see to it that these
            are not all of one class.
        normalize: Mean and std that the transform of the loader has normalised with.
        device: Where to evaluate; the model is moved there, and stays there. None
            stands for the device of the model.
        seed: Seed of starts and targets. With the same seed and the same batches, the
            result is the same.
        progress: Show a progress bar.
        state: File to keep the verdicts in, batch by batch; see `evaluate_robustness`.

    Returns:
        A report with the accuracies in percent.

    Raises:
        TypeError: If a batch or the output of the model is of the wrong type.
        ValueError: If the loader is empty, if images leave [0, 1] or do not suit an
            attack, if the logits are NaN or too few for a label, if there are fewer
            than two classes, if `steps` is less than 1, or if the state is that of
            another evaluation.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
        >>> loader = [(torch.rand(8, 3, 16, 16), torch.arange(8) % 5)]
        >>> found = evaluate_unforeseen(model, loader, ["l1", "jpeg_linf"], steps=2)
        >>> found.num_samples, [len(each) for each in found.accuracies.values()]
        (8, [6, 6])
    """
    chosen = resolve(attacks)
    if steps < 1:
        raise ValueError(f"steps={steps} is too small; expected at least 1.")
    evaluation = Evaluation(
        model,
        batches.place(model, device),
        {
            "attacks": {attack.name: attack.eps for attack in chosen},
            "steps": steps,
            "normalize": normalize,
        },
        seed=seed,
        state=state,
        progress=progress,
    )
    with evaluation.undisturbed() as (untouched, _):
        on_pixels = batches.OnPixels(untouched, normalize)
        size, loaded = sweep.of_one_size(
            batches.load(
                loader, device=evaluation.device, limit=max_samples, normalize=normalize
            )
        )
        results = evaluation.run(
            _suitable(loaded, chosen),
            sweep.measured(
                on_pixels,
                _change(on_pixels, chosen, steps, evaluation.describe),
                count=sum(len(attack.eps) for attack in chosen),
            ),
            total=batches.count(loader, max_samples),
            description="unforeseen",
        )
    report = UnforeseenReport(
        attacks=chosen,
        clean=sweep.stacked(results, ["clean"])[0],
        flags={
            attack.name: sweep.stacked(
                results, [_flag(attack, level) for level in range(len(attack.eps))]
            )
            for attack in chosen
        },
        image_size=size,
        num_classes=results[0].classes,
        steps=steps,
        **evaluation.facts(),
    )
    probabilities = all(result.probabilities for result in results)
    report.warnings.extend(warnings.of(report, probabilities=probabilities))
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

    setting = attack.setting(images, eps, generator)
    return scene.climb(objective, setting, steps=steps)


def _change(
    model: nn.Module,
    attacks: Sequence[UnforeseenAttack],
    steps: int,
    describe: Callable[[str], None],
) -> sweep.Change:
    """Return the function that yields a batch under all attacks."""

    def change(batch: Batch, clean: Verdict) -> Iterator[tuple[str, Tensor]]:
        generator = rng.batch_generator(*batch.key)
        targets = _targets(batch.labels, clean.classes, generator)
        targets = _possible(targets, batch.labels, model(batch.images))
        for number, attack in enumerate(attacks, start=1):
            for level, eps in enumerate(attack.eps):
                describe(f"unforeseen: {_flag(attack, level)}")
                yield (
                    _flag(attack, level),
                    attack_images(
                        model,
                        batch.images,
                        targets,
                        attack,
                        eps=eps,
                        steps=steps,
                        generator=rng.batch_generator(*batch.key, number, level),
                    ),
                )

    return change


def _flag(attack: UnforeseenAttack, strength: int) -> str:
    return f"{attack.name}, strength {strength + 1}"


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


def _suitable(
    loaded: sweep.Loaded, attacks: Sequence[UnforeseenAttack]
) -> sweep.Loaded:
    """Yield the batches; refuse at the first what an attack would refuse in hours."""
    for number, (images, labels) in enumerate(loaded):
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"the images are {height} x {width}; expected at least {SMALLEST} x "
                f"{SMALLEST}. Resize them."
            )
        for attack in attacks if number == 0 else ():
            attack.setting(images[:1], attack.eps[0], torch.Generator())
        yield images, labels
