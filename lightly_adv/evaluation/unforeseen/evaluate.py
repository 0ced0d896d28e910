"""Measure accuracy under attacks that a classifier was not trained against."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation import batches, digests, processes, verdicts
from lightly_adv.evaluation.confirmation import Shown
from lightly_adv.evaluation.run import Run
from lightly_adv.evaluation.state import State
from lightly_adv.evaluation.unforeseen import doubts, scene
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
    where = batches.place(model, device)
    kept = _state(state, model, chosen, steps=steps, normalize=normalize, seed=seed)
    bar = _bar(progress, batches.count(loader, max_samples))
    undisturbed = verdicts.undisturbed(model, device=where, seed=seed)
    with undisturbed as untouched:
        loaded = batches.load(
            loader, device=where, limit=max_samples, normalize=normalize
        )
        first = next(loaded)
        size = _suitable_size(first[0], chosen)
        run = _Run(
            batches.OnPixels(untouched, normalize),
            chosen,
            steps=steps,
            bar=bar,
            device=where,
            seed=seed,
            state=kept,
        )
        found = run.over(_of_size(size, itertools.chain([first], loaded)), bar)
    return _report(
        found,
        chosen,
        size,
        steps=steps,
        seed=seed,
        model_digest=digests.of_model(model),
        data_digest=run.data_digest,
        batch_size=len(first[0]),
        device=where.type,
    )


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


class _Run(Run):
    """One evaluation on its way through the batches."""

    def __init__(
        self,
        model: nn.Module,
        attacks: Sequence[UnforeseenAttack],
        *,
        steps: int,
        bar: tqdm[Any],
        device: torch.device,
        seed: int,
        state: State | None,
    ) -> None:
        super().__init__(model, {}, device=device, seed=seed, state=state)
        self._unforeseen = attacks
        self._steps = steps
        self._bar = bar

    def _attack(self, index: int, images: Tensor, labels: Tensor) -> Verdict:
        """Attack one batch in all ways, each on all of its images."""
        clean = super()._attack(index, images, labels)
        key = self._key(index)
        targets = _targets(labels, clean.classes, rng.batch_generator(*key))
        targets = _possible(targets, labels, self._model(images))
        flags = {"clean": clean.flags["clean"]}
        shown, runs = Shown(images), _runs(self._unforeseen)
        with self._seeded(index):
            for kind, (number, attack, strength) in enumerate(runs):
                name = _flag(attack, strength)
                self._bar.set_description(f"unforeseen: {name}")
                perturbed = attack_images(
                    self._model,
                    images,
                    targets,
                    attack,
                    eps=attack.eps[strength],
                    steps=self._steps,
                    generator=rng.batch_generator(*key, number, strength),
                )
                said = batches.logits(self._model, perturbed, labels)
                shown.take_turns(
                    perturbed, said, kind=kind, kinds=len(runs), shift=index
                )
                flags[name] = (said.argmax(dim=1) == labels).cpu()
            shown.confirm(self._model)
        worst = torch.stack(list(flags.values())).all(dim=0)
        return clean._replace(flags={**flags, "all": worst})


def _runs(
    attacks: Sequence[UnforeseenAttack],
) -> list[tuple[int, UnforeseenAttack, int]]:
    """Return the number of each attack, from 1, the attack, and each strength of it."""
    return [
        (number, attack, strength)
        for number, attack in enumerate(attacks, start=1)
        for strength in range(len(attack.eps))
    ]


def _flag(attack: UnforeseenAttack, strength: int) -> str:
    return f"{attack.name}, strength {strength + 1}"


def _report(
    found: Sequence[Verdict],
    attacks: Sequence[UnforeseenAttack],
    size: tuple[int, int],
    **facts: Any,
) -> UnforeseenReport:
    """Put the batches together."""

    def joined(name: str) -> Tensor:
        return torch.cat([verdict.flags[name] for verdict in found])

    flags = {
        attack.name: torch.stack(
            [joined(_flag(attack, strength)) for strength in range(len(attack.eps))]
        )
        for attack in attacks
    }
    report = UnforeseenReport(
        attacks=attacks,
        clean=joined("clean"),
        flags=flags,
        image_size=size,
        num_classes=found[0].classes,
        **facts,
    )
    probabilities = all(verdict.probabilities for verdict in found)
    report.warnings.extend(doubts.warnings(report, probabilities=probabilities))
    return report


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


def _suitable_size(
    images: Tensor, attacks: Sequence[UnforeseenAttack]
) -> tuple[int, int]:
    """Return height and width; refuse now what an attack would refuse in hours."""
    height, width = images.shape[2:]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"the images are {height} x {width}; expected at least {SMALLEST} x "
            f"{SMALLEST}. Resize them."
        )
    for attack in attacks:
        attack.setting(images[:1], attack.eps[0], torch.Generator())
    return height, width


def _of_size(
    size: tuple[int, int], loaded: Iterable[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in loaded:
        if tuple(images.shape[2:]) != size:
            raise ValueError(
                f"a batch has images of {tuple(images.shape[2:])}, the first one had "
                f"{size}; expected one size, as strengths mean something else at "
                "another. Resize them."
            )
        yield images, labels


def _state(
    path: str | os.PathLike[str] | None,
    model: nn.Module,
    attacks: Sequence[UnforeseenAttack],
    **settings: Any,
) -> State | None:
    """Return the state of this evaluation in this process, if it is to be kept."""
    if path is None:
        return None
    rank, size = processes.rank_and_size()
    identity = {
        "model": digests.of_model(model),
        "attacks": {each.name: each.eps for each in attacks},
        **settings,
    }
    return State(Path(f"{path}.{rank}" if size > 1 else path), identity)


def _bar(progress: bool, total: int | None) -> tqdm[Any]:
    shown = progress and processes.rank_and_size()[0] == 0
    return tqdm(total=total, unit="images", desc="unforeseen", disable=not shown)
