"""Which images of one batch a classifier still gets right under attack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import Attack, ClassificationObjective
from lightly_adv.evaluation import confirmation
from lightly_adv.evaluation.confirmation import Shown
from lightly_adv.evaluation.untouched import Untouched
from lightly_adv.functional import precision
from lightly_adv.isolation import modes, rng


class Verdict(NamedTuple):
    """What became of the images of one batch."""

    flags: dict[str, Tensor]
    """Per attack, after "clean", one bool per image: right under this attack and
    under all that came before it."""

    probabilities: bool
    """Whether the logits look like probabilities."""

    classes: int
    """How many logits there are per image."""

    labels: Tensor
    """The right class of each image."""

    predictions: dict[str, Tensor]
    """What each image is taken for: "clean" without an attack, "attacked" as the
    first attack that breaks it has left it. An image that none breaks counts as
    right."""

    @property
    def worst(self) -> Tensor:
        """Which images are right under every attack."""
        return list(self.flags.values())[-1]

    def cpu(self) -> Verdict:
        """Return the same in the memory of the CPU."""
        return self._replace(
            flags={name: flag.cpu() for name, flag in self.flags.items()},
            labels=self.labels.cpu(),
            predictions={name: each.cpu() for name, each in self.predictions.items()},
        )


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return what there is about each batch in one tensor per name.

    Examples:
        >>> joined([{"clean": torch.tensor([3])}, {"clean": torch.tensor([5, 1])}])
        {'clean': tensor([3, 5, 1])}
    """
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def unpack(batch: Any) -> tuple[Tensor, Tensor]:
    """Take images and labels from a batch, and leave file names behind.

    Args:
        batch: (images, labels) or (images, labels, filenames), with images of shape
            (B, C, H, W) and labels of shape (B,).

    Raises:
        TypeError: If the batch is anything else.
        ValueError: If the number of images differs from that of labels.

    Examples:
        >>> images, labels = unpack((torch.rand(2, 3, 4, 4), torch.ones(2).long()))
        >>> images.shape
        torch.Size([2, 3, 4, 4])
    """
    if not isinstance(batch, Sequence) or isinstance(batch, str) or len(batch) < 2:
        raise TypeError(f"a batch is {_describe(batch)}; {_EXPECTED_BATCH}")
    images, labels = batch[0], batch[1]
    if not isinstance(images, Tensor):
        raise TypeError(
            f"the images of a batch are {_describe(images)}; expected one tensor of "
            f"shape (B, C, H, W). {_remedy(images)}"
        )
    if not isinstance(labels, Tensor) or labels.dim() != 1 or _is_real(labels):
        raise TypeError(
            f"the labels of a batch are {_describe(labels)}; expected a tensor of "
            "class numbers of shape (B,)."
        )
    if len(images) != len(labels):
        raise ValueError(
            f"a batch has {len(images)} images and {len(labels)} labels; expected one "
            "label per image."
        )
    return images, labels


@contextmanager
def undisturbed(
    model: nn.Module, *, device: torch.device, seed: int
) -> Iterator[Untouched]:
    """Evaluate in float32 and eval mode, and leave no trace.

    Inside, nothing is recorded for autograd (attacks switch it on for themselves),
    even if inference mode or autocast was on. At the end, the module is what it was,
    with all that it holds, and so are the global random states.

    Args:
        model: The module to evaluate.
        device: Where it is evaluated.
        seed: Seed of the global random states inside, for models that draw.

    Yields:
        What is to be called in place of the module: it begins every call with the
        same state.

    Raises:
        UnconfirmedError: If the module has moved, and that cannot be undone.
    """
    untouched = Untouched(model)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(modes.evaluation_mode(model))
        stack.enter_context(untouched.held())
        stack.enter_context(rng.forked(device))
        rng.reseed(seed)
        stack.enter_context(confirmation.steady(untouched, device=device, seed=seed))
        yield untouched


def attack_batch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Mapping[str, Attack],
    *,
    key: Sequence[int],
) -> Verdict:
    """Attack the images that the model gets right, one attack after the other.

    To be called inside of `undisturbed`. An attack meets only the images that have
    withstood all attacks before it. One that it returns bit for bit keeps its verdict,
    so that rounding, which differs with the size of a batch, breaks no image. In the
    end the model is asked once more about all of them, each as the attacks left it.

    Args:
        model: Maps images to logits of shape (B, C); what `undisturbed` gives.
        images: Images of shape (B, C, H, W), on the device of the model.
        labels: Class numbers of shape (B,), on the same device.
        attacks: The attacks by name.
        key: Non-negative integers that seed the noise of the attacks, such as the seed
            and the index of the batch.

    Raises:
        TypeError: If the model does not return a tensor, or does not take the dtype of
            the images.
        ValueError: If the logits have another shape, are NaN, of fewer than two
            classes, or have no place for a label; if the images leave the bounds of
            the threat model.
        UnconfirmedError: If the model does not stand by what it said.
    """
    images, labels = (
        precision.normal_tensor(images),
        precision.normal_tensor(labels).long(),
    )
    for attack in attacks.values():
        attack.threat_model.box(images)  # refuses images it does not fit
    logits = checked_logits(ask(model, images), labels)
    clean = logits.argmax(dim=1)
    attacked, standing = clean, clean == labels
    flags = {"clean": standing}
    shown = Shown(images, logits)
    for index, (name, attack) in enumerate(attacks.items()):
        generator = rng.batch_generator(*key, index)
        rows = standing.nonzero().flatten()
        if len(rows):
            objective = ClassificationObjective(model, labels[rows])
            perturbed = _perturbed(attack, objective, images[rows], generator)
            moved = (perturbed != images[rows]).flatten(1).any(dim=1)
            said = checked_logits(model(perturbed), labels[rows])
            shown.update(rows[moved], perturbed[moved], said[moved])
            attacked = attacked.index_copy(0, rows[moved], said[moved].argmax(dim=1))
            standing = attacked == labels
        flags[name] = standing
    shown.confirm(model)
    predictions = {"clean": clean, "attacked": attacked}
    return Verdict(
        flags, _are_probabilities(logits), logits.shape[1], labels, predictions
    )


def _perturbed(
    attack: Attack,
    objective: ClassificationObjective,
    images: Tensor,
    generator: Generator,
) -> Tensor:
    """Return what an attack makes of images, and hold it to the threat model."""
    # A copy, which an attack may write into.
    (perturbed,) = attack(objective, [images.clone()], generator=generator)
    attack.threat_model.check(images, perturbed)
    return perturbed


_DTYPES = re.compile(r"dtype|same type|scalar type|should be the same")
"""How PyTorch complains of dtypes that do not fit."""


def ask(model: nn.Module, images: Tensor) -> Any:
    """Return what a model says to images; tell why where their dtypes do not fit.

    A model may have weights of another dtype if it converts the images itself.

    Raises:
        TypeError: If it does not take images of another dtype than its weights.
    """
    try:
        return model(images)
    except RuntimeError as error:
        weights = {x.dtype for x in model.parameters() if x.is_floating_point()}
        if weights <= {images.dtype} or not _DTYPES.search(str(error)):
            raise
        raise TypeError(
            f"the model has weights of {', '.join(sorted(map(str, weights)))} and does "
            f"not take images of {images.dtype} ({error}); evaluate model.float() on "
            "images of torch.float32."
        ) from error


def checked_logits(logits: Any, labels: Tensor) -> Tensor:
    """Return the output of the model if it is logits that fit the labels."""
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the model returned {_describe(logits)}; expected logits of shape (B, C). "
            "Wrap it in a module that returns these alone."
        )
    if logits.dim() != 2 or len(logits) != len(labels):
        raise ValueError(
            f"the model returned shape {tuple(logits.shape)} for {len(labels)} images; "
            f"expected logits of shape ({len(labels)}, C). Is it a backbone without a "
            "classification head?"
        )
    if logits.isnan().any():
        raise ValueError(
            "the logits hold NaN; expected finite numbers. Look at the weights of the "
            "model: has its training diverged?"
        )
    if not logits.amax(dim=1).isfinite().all():
        raise ValueError(
            "the logits hold inf, or -inf for all classes of an image; expected finite "
            "numbers, and -inf for classes that are ruled out. Does a mask rule out "
            "all classes, or do the logits overflow?"
        )
    _check_labels(labels, classes=logits.shape[1])
    return logits


def _check_labels(labels: Tensor, *, classes: int) -> None:
    if classes < 2:
        raise ValueError(
            f"the model returned logits of {classes} class; expected at least 2 "
            "classes. If it tells two apart by the sign of one logit z, wrap it in a "
            "module that returns torch.cat([-z, z], dim=1)."
        )
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= classes:
        raise ValueError(
            f"label {low if low < 0 else high} does not fit {classes} logits; expected "
            f"labels from 0 to {classes - 1}. Are there more classes in test than in "
            "train?"
        )


def _are_probabilities(logits: Tensor) -> bool:
    sums = logits.float().sum(dim=1)
    return bool((logits >= 0).all() and ((sums - 1).abs() <= 1e-4).all())


def _is_real(labels: Tensor) -> bool:
    return labels.is_floating_point() or labels.dtype == torch.bool


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {list(value)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _remedy(images: Any) -> str:
    views = isinstance(images, list | tuple) and images
    if not (views and all(isinstance(each, Tensor) for each in images)):
        return "Give the loader a transform and a collate_fn that make one."
    shapes = sorted({tuple(each.shape) for each in images})
    if len(shapes[0]) == 4:
        return "Evaluate with a transform that makes one view."
    if len(shapes) == 1:
        return f"They are of one shape, {shapes[0]}: let the collate_fn stack them."
    return (
        f"They are of the shapes {', '.join(map(str, shapes[:3]))}: let the transform "
        "resize and crop all of them to one size."
    )


_EXPECTED_BATCH = (
    "expected (images, labels) or (images, labels, filenames). Give the loader a "
    "collate_fn that returns one of these."
)
