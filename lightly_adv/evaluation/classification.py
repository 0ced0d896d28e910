"""Which images of one batch a classifier classifies correctly under attack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Generator, Tensor, nn

from lightly_adv.attacks import Attack, ClassificationObjective
from lightly_adv.evaluation import batches
from lightly_adv.evaluation.batches import BatchResult
from lightly_adv.evaluation.confirmation import Shown
from lightly_adv.functional import precision
from lightly_adv.isolation import rng


def attack_batch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Mapping[str, Attack],
    *,
    key: Sequence[int],
) -> BatchResult:
    """Attack the correctly classified images, one attack after the other.

    To be called with a model that is `isolated`. An attack meets only the images that
    are robust against all attacks before it. One that it returns bit for bit keeps its
    result, so that rounding, which differs with the size of a batch, fools no model. In
    the end the model is asked once more about all of them, each as the attacks left it.

    Args:
        model: Maps images to logits of shape (B, C); isolated.
        images: Images of shape (B, C, H, W), on the device of the model.
        labels: Class numbers of shape (B,), on the same device.
        attacks: The attacks by name.
        key: Non-negative integers that seed the noise of the attacks, such as the seed
            and the index of the batch.

    Returns:
        Flags "clean" and per attack: whether an image is correctly classified under
        this attack and all before it. Values "labels"; "clean" and "attacked", the
        predicted classes without an attack and under the first one that misleads the
        model, if there is one; and "classes" and "probabilities" of the whole batch:
        how many logits there are, and whether they look like probabilities.

    Raises:
        TypeError: If the model does not return a tensor, or does not take the dtype of
            the images.
        ValueError: If the logits have another shape, are NaN, of fewer than two
            classes, or have no entry for a label; if the images leave the bounds of
            the threat model.
        UnconfirmedError: If the model does not stand by its answers.
    """
    images, labels = (
        precision.normal_tensor(images),
        precision.normal_tensor(labels).long(),
    )
    for attack in attacks.values():
        attack.threat_model.box(images)  # validates the images
    logits = checked_logits(call(model, images), labels)
    clean = logits.argmax(dim=1)
    attacked, robust = clean, clean == labels
    flags = {"clean": robust}
    shown = Shown(images, logits)
    for index, (name, attack) in enumerate(attacks.items()):
        generator = rng.batch_generator(*key, index)
        rows = robust.nonzero().flatten()
        if len(rows):
            objective = ClassificationObjective(model, labels[rows])
            perturbed = _perturbed(attack, objective, images[rows], generator)
            moved = (perturbed != images[rows]).flatten(1).any(dim=1)
            answers = checked_logits(model(perturbed), labels[rows])
            shown.update(rows[moved], perturbed[moved], answers[moved])
            attacked = attacked.index_copy(0, rows[moved], answers[moved].argmax(dim=1))
            robust = attacked == labels
        flags[name] = robust
    shown.confirm(model)
    values = {
        "labels": labels,
        "clean": clean,
        "attacked": attacked,
        "classes": labels.new_tensor([logits.shape[1]]),
        "probabilities": _are_probabilities(logits)[None].long(),
    }
    return BatchResult(flags, values)


def _perturbed(
    attack: Attack,
    objective: ClassificationObjective,
    images: Tensor,
    generator: Generator,
) -> Tensor:
    """Return what an attack makes of images, checked against the threat model."""
    # A copy, which an attack may write into.
    (perturbed,) = attack(objective, [images.clone()], generator=generator)
    attack.threat_model.check(images, perturbed)
    return perturbed


_DTYPES = re.compile(r"dtype|same type|scalar type|should be the same")
"""How PyTorch complains of dtypes that do not fit."""


def call(model: nn.Module, images: Tensor) -> Any:
    """Return the output of a model; tell why where dtypes do not fit.

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
            f"the model returned {batches.describe(logits)}; expected logits of shape "
            "(B, C). Wrap it in a module that returns these alone."
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


def _are_probabilities(logits: Tensor) -> Tensor:
    sums = logits.float().sum(dim=1)
    return (logits >= 0).all() & ((sums - 1).abs() <= 1e-4).all()
