"""Whether what a model answers holds when it is asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lightly_adv.evaluation.checks import outputs
from lightly_adv.isolation import rng

REMEMBERED = 8
"""To how many images the answers at the beginning are kept until the end."""

SCATTER = 3.0
"""How many times further an answer may move than it scatters by itself."""

Differing: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class UnconfirmedError(RuntimeError):
    """What an evaluation has found does not hold when the model is asked again."""


class Shown:
    """One batch of images, each as it was last shown, and what the model answers.

    An evaluation shows an image in many ways. One of them is kept for each, so that
    all of it is confirmed by one more pass of the batch.

    Args:
        images: The images without an attack, of shape (B, C, H, W).
        answers: What the model answers to them, of shape (B, D). None where every
            image is going to be shown in another way.

    Examples:
        >>> images, model = torch.rand(4, 3, 2, 2), nn.Flatten()
        >>> shown = Shown(images, model(images))
        >>> darker = images / 2
        >>> shown.update(torch.tensor([1, 3]), darker[1::2], model(darker)[1::2])
        >>> shown.confirm(model)
    """

    def __init__(self, images: Tensor, answers: Tensor | None = None) -> None:
        self._images = images
        self._answers = answers

    def update(self, rows: Tensor, images: Tensor, answers: Tensor) -> None:
        """Keep other versions of some images.

        Args:
            rows: Their numbers.
            images: What became of them, in that order.
            answers: What the model answers to that.
        """
        if self._answers is None:
            self._answers = answers.new_zeros(len(self._images), answers.shape[1])
        self._images = self._images.index_copy(0, rows, images)
        self._answers = self._answers.index_copy(0, rows, answers)

    def take_turns(
        self, images: Tensor, answers: Tensor, *, kind: int, kinds: int, shift: int = 0
    ) -> None:
        """Keep some of the images of one kind, so that all kinds have their turn.

        Args:
            images: All images of the batch, shown in this way.
            answers: What the model answers to them.
            kind: Number of the kind.
            kinds: How many there are.
            shift: Which kind the first image is of, such as the number of the batch.
        """
        rows = torch.arange(len(images), device=images.device)
        rows = rows[(rows + shift) % kinds == kind]
        self.update(rows, images[rows], answers[rows])

    def confirm(self, model: nn.Module, differ: Differing | None = None) -> None:
        """Ask the model again.

        A model that draws numbers, or looks at the other images of a batch, has no
        answer of its own to an image, and nothing to hold it to; checks tell of it.

        Args:
            model: The model as it was given.
            differ: Tells which rows of two answers differ. Defaults to whether they
                name different classes, and not for rounding alone.

        Raises:
            UnconfirmedError: If the answers are others.
        """
        differ = differ or other_classes
        assert self._answers is not None, "no image was shown"
        changed = differ(self._answers, model(self._images))
        if changed.any() and _answers_alike(model, self._images, changed):
            count, total = int(changed.sum()), len(changed)
            raise UnconfirmedError(
                f"asked again, the model answers otherwise to {count} of {total} "
                "images than in the evaluation, though it repeats its answers now; "
                "expected the same. It, or what it uses, was changed meanwhile: keep "
                "what changes in buffers, or evaluate a copy that stays as it is."
            )


@contextmanager
def steady(model: nn.Module, *, device: torch.device, seed: int) -> Iterator[None]:
    """Refuse at the end a model that has moved, in spite of all that was set aside.

    State may be out of reach: in globals, closures, files. What the model says at the
    first call to a few images it has to say at the end as well.

    Args:
        model: The model, isolated.
        device: Where it is.
        seed: Seed of the global random states, for models that draw.

    Raises:
        UnconfirmedError: If the answers have moved further than they scatter.
    """
    known: dict[str, Tensor] = {}

    def ask(images: Tensor) -> Any:
        with torch.no_grad(), rng.forked(device):
            rng.reseed(seed)
            return model.forward(images)

    def remember(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not known:
            known["images"] = images = inputs[0][:REMEMBERED].detach().clone()
            known["first"], known["second"] = ask(images), ask(images)

    hook = model.register_forward_pre_hook(remember)
    try:
        yield
    finally:
        hook.remove()
    if isinstance(known.get("first"), Tensor):
        _check_steady(known["first"], known["second"], ask(known["images"]))


def _check_steady(first: Tensor, second: Tensor, last: Tensor) -> None:
    moved = outputs.difference(first, last).mean()
    scatter = outputs.difference(first, second).mean()
    allowed = max(outputs.tolerance(first.dtype), SCATTER * float(scatter))
    if moved > allowed:
        raise UnconfirmedError(
            "the model has moved while it was evaluated: at the end its answers to the "
            f"first images are others than at the beginning, by {float(moved):.2g} of "
            f"their span, expected no more than {allowed:.2g}. It keeps state that "
            "could not be set aside, such as a global or an object that is no tensor "
            "and no module: keep it in buffers, or let it rest in eval mode."
        )


def other_classes(one: Tensor, other: Tensor) -> Tensor:
    """Return where logits name other classes, and not for rounding alone."""
    return far_apart(one, other) & (one.argmax(dim=1) != other.argmax(dim=1))


def far_apart(one: Tensor, other: Tensor) -> Tensor:
    """Return where answers differ by more than rounding."""
    return outputs.difference(one, other) > outputs.tolerance(other.dtype)


def _answers_alike(model: nn.Module, images: Tensor, rows: Tensor) -> bool:
    """Whether some images have the same answer every time and in every batch."""
    first, again = (model(images)[rows][:REMEMBERED] for _ in range(2))
    if (outputs.difference(first, again) > outputs.REPEATED).any():
        return False
    # Each beside itself alone; a single one would not do for BatchNorm in train mode.
    pairs = (image.expand(2, *image.shape) for image in images[rows][:REMEMBERED])
    alone = torch.cat([model(pair)[:1] for pair in pairs])
    return not bool(far_apart(first, alone).any())
