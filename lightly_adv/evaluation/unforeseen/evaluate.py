"""Measure accuracy under attacks that a classifier was not trained against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation import batches, verdicts
from lightly_adv.evaluation.unforeseen import scene
from lightly_adv.evaluation.unforeseen.attacks import UnforeseenAttack, resolve
from lightly_adv.evaluation.unforeseen.report import CALIBRATED_SIZE, UnforeseenReport
from lightly_adv.isolation import rng
from lightly_adv.types import Normalize


def evaluate_unforeseen(
    model: nn.Module,
    loader: Iterable[Any],
    attacks: Sequence[str | UnforeseenAttack] | None = None,
    *,
    steps: int = 200,
    max_samples: int | None = None,
    normalize: Normalize | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
) -> UnforeseenReport:
    """Measure how many pictures a classifier gets right under attacks of ten kinds.

    Every attack leads the pictures to a wrong class that is drawn at random, the same
    for all attacks, and is run at several strengths, each on all of the pictures. As
    with `evaluate_robustness`, the model is afterwards what it was.

    - [0] Testing Robustness Against Unforeseen Adversaries, 2019,
      https://arxiv.org/abs/1908.08016

    Args:
        model: Maps pictures of shape (B, C, H, W) to logits of shape (B, classes).
        loader: Batches (images, labels) or (images, labels, filenames), with pictures
            of one size.
        attacks: Names of attacks, or attacks with strengths of your own. None stands
            for all ten.
        steps: Number of gradient steps of each attack; 200 in the paper.
        max_samples: Evaluate only the first that many pictures.
        normalize: Mean and std that the transform of the loader has normalised with.
        device: Where to evaluate; the model is moved there, and stays there. None
            stands for the device of the model.
        seed: Seed of starts and targets. With the same seed and the same batches, the
            result is the same.
        progress: Show a progress bar.

    Returns:
        A report with the accuracies in percent.

    Raises:
        TypeError: If a batch or the output of the model is of the wrong type.
        ValueError: If the loader is empty, if pictures leave [0, 1] or do not suit an
            attack, if there are fewer than two classes, or if `steps` is less than 1.

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
    where = batches.place(model, device)
    runs = sum(len(attack.eps) for attack in chosen)
    total = batches.count(loader, max_samples)
    bar = tqdm(
        total=total and total * runs,
        unit="pictures",
        desc="unforeseen",
        disable=not progress,
    )
    with verdicts.undisturbed(model, device=where, seed=seed), bar:
        run = _Run(batches.OnPixels(model, normalize), chosen, steps, seed, bar)
        loaded = batches.load(
            loader, device=where, limit=max_samples, normalize=normalize
        )
        for index, (images, labels) in enumerate(loaded):
            run.add(index, images, labels)
    return run.report()


def attack_pictures(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    attack: UnforeseenAttack,
    *,
    eps: float,
    steps: int,
    generator: Generator,
) -> Tensor:
    """Return pictures that an attack leads to other classes.

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


class _Run:
    """One evaluation on its way through the batches."""

    def __init__(
        self,
        model: nn.Module,
        attacks: Sequence[UnforeseenAttack],
        steps: int,
        seed: int,
        bar: tqdm[Any],
    ) -> None:
        self.model = model
        self.attacks = attacks
        self.steps = steps
        self.seed = seed
        self.bar = bar
        self.size = (0, 0)
        self.clean: list[Tensor] = []
        self.flags: dict[str, list[Tensor]] = {each.name: [] for each in attacks}

    def add(self, index: int, images: Tensor, labels: Tensor) -> None:
        """Attack one batch in all ways."""
        height, width = images.shape[2:]
        self.size = (height, width)
        self.clean.append(batches.answers(self.model, images, labels).cpu())
        generator = rng.batch_generator(self.seed, 0, index)
        targets = _targets(self.model, images, labels, generator)
        for number, attack in enumerate(self.attacks, start=1):
            rows = []
            for strength, eps in enumerate(attack.eps):
                perturbed = attack_pictures(
                    self.model,
                    images,
                    targets,
                    attack,
                    eps=eps,
                    steps=self.steps,
                    generator=rng.batch_generator(
                        self.seed, 0, index, number, strength
                    ),
                )
                rows.append(batches.answers(self.model, perturbed, labels).cpu())
                self.bar.update(len(images))
            self.flags[attack.name].append(torch.stack(rows))

    def report(self) -> UnforeseenReport:
        """Put the batches together."""
        return UnforeseenReport(
            attacks=self.attacks,
            clean=torch.cat(self.clean),
            flags={name: torch.cat(rows, dim=1) for name, rows in self.flags.items()},
            image_size=self.size,
            steps=self.steps,
            seed=self.seed,
            warnings=_warnings(self.attacks, self.size),
        )


def _targets(
    model: nn.Module, images: Tensor, labels: Tensor, generator: Generator
) -> Tensor:
    """Draw a wrong class for each picture."""
    classes: int = model(images[:1]).shape[1]
    if classes < 2:
        raise ValueError(
            f"the model has {classes} logit; expected at least 2 classes, so that "
            "there is a wrong one to lead to."
        )
    shift = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + shift.to(labels)).remainder(classes)


def _warnings(attacks: Sequence[UnforeseenAttack], size: tuple[int, int]) -> list[str]:
    calibrated = any(attack.ata is not None for attack in attacks)
    if size == CALIBRATED_SIZE or not calibrated:
        return []
    return [
        f"the pictures are {size[0]} x {size[1]}; the strengths are those for 32 x 32, "
        "so there is no UAR."
    ]
