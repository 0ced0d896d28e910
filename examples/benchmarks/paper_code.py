"""How the public code of the paper takes an adversarial step, written from scratch.

Nothing is taken from it but the way of working: images are turned and shuffled one
by one, the attack runs through a network in train mode with the parameters in the
graph, it projects through boolean masks, and what it returns still carries a graph;
Selfie cuts patches into lists and compares them in a loop; the ensemble differentiates
task by task. Networks and losses are those of this package, so that the way of working
is all that differs. (The softmax in front of Selfie's cross-entropy is left out.)

- [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning, 2020,
  https://arxiv.org/abs/2003.12862
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightly_adv.models import stages
from lightly_adv.pretext.ensemble import PretextEnsemble
from lightly_adv.pretext.jigsaw import JigsawTask
from lightly_adv.pretext.rotation import RotationTask
from lightly_adv.pretext.selfie import SelfieTask
from lightly_adv.pretext.task import PretextTask

EPS, STEP = 8 / 255, 2 / 255
BIAS = 0.9

Loss = Callable[[Tensor], Tensor]


def draw_rotation(images: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the images one after the other."""
    classes = [0, 1, 2, 3] * (len(images) // 4 + 1)
    targets = torch.from_numpy(np.random.permutation(classes)[: len(images)])
    turned = torch.zeros_like(images)
    for at in range(len(images)):
        turned[at] = torch.rot90(images[at], int(targets[at]), (1, 2))
    return turned, targets


def draw_jigsaw(images: Tensor, orders: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cut, shuffle and join the images one after the other."""
    grid = int(orders.shape[1] ** 0.5)
    shuffled, targets = torch.zeros_like(images), torch.zeros(len(images))
    for at in range(len(images)):
        target = np.random.randint(len(orders)) if np.random.rand() < BIAS else 0
        tiles = cut(images[at], images.shape[-1] // grid)
        tiles = [tiles[place] for place in orders[target]]
        rows = [torch.cat(tiles[i : i + grid], 2) for i in range(0, grid**2, grid)]
        shuffled[at] = torch.cat(rows, 1)
        targets[at] = int(target)
    return shuffled, targets.long()


def cut(images: Tensor, size: int) -> list[Tensor]:
    """Return the patches of images (..., H, W), as a list."""
    return [
        patch for row in images.split(size, dim=-2) for patch in row.split(size, dim=-1)
    ]


def selfie_loss(task: SelfieTask, images: Tensor, order: np.ndarray) -> Tensor:
    """Return the loss of hidden patches, the same ones for all images."""
    patches = torch.cat(cut(images, images.shape[-1] // task.grid), dim=0)
    features = stages.level_features(task.backbone, task.normalize(patches), task.level)
    features = torch.cat([x[:, None] for x in features.split(len(images))], dim=1)
    hidden = torch.from_numpy(order[: task.num_masked])
    visible = torch.from_numpy(order[task.num_masked :])
    pooled = task.pooling(features.index_select(1, visible))
    candidates = torch.cat([features[:, place, :, None] for place in hidden], dim=2)
    loss = torch.zeros(())
    for at, place in enumerate(hidden):
        position = task.rows[place // task.grid] + task.columns[place % task.grid]
        logits = torch.bmm((pooled + position)[:, None], candidates)[:, 0]
        target = torch.full((len(images),), at)
        loss = loss + F.cross_entropy(logits * task.logit_scale, target)
    return loss / len(hidden)


def question(task: PretextTask, images: Tensor) -> tuple[Tensor, Loss]:
    """Return the inputs of a task, and its loss as a function of them."""
    if isinstance(task, RotationTask):
        inputs, targets = draw_rotation(images)
    elif isinstance(task, JigsawTask):
        inputs, targets = draw_jigsaw(images, task.permutations.numpy())
    elif isinstance(task, SelfieTask):
        order = np.random.permutation(task.grid**2)
        return images, lambda inputs: selfie_loss(task, inputs, order)
    return inputs, lambda inputs: F.cross_entropy(task(inputs), targets)


def train_task(
    task: PretextTask, images: Tensor, *, steps: int, optimizer: torch.optim.Optimizer
) -> Tensor:
    """Take one training step of one task; return the loss."""
    task.train()
    inputs, loss_of = question(task, images)
    perturbed = _start(inputs)
    for _ in range(steps):
        (grad,) = torch.autograd.grad(loss_of(perturbed), perturbed)
        perturbed = _ascend(perturbed, grad, inputs)
    loss = (loss_of(perturbed) + loss_of(inputs)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def train_ensemble(
    ensemble: PretextEnsemble,
    images: Tensor,
    *,
    steps: int,
    weight: float,
    optimizer: torch.optim.Optimizer,
) -> Tensor:
    """Take one training step of several tasks with a weight of diversity."""
    ensemble.train()
    tasks = [ensemble.tasks[name] for name in ensemble.names]
    inputs, losses_of = zip(*(question(each, images) for each in tasks), strict=True)
    perturbed = [_start(each) for each in inputs]
    for _ in range(steps):
        losses = [loss_of(x) for loss_of, x in zip(losses_of, perturbed, strict=True)]
        grads = _input_gradients(losses, perturbed)
        h = log_det(grads)
        seconds = [torch.autograd.grad(h, x, retain_graph=True)[0] for x in perturbed]
        perturbed = [
            _ascend(x, grad.detach() + weight * second, start)
            for x, grad, second, start in zip(
                perturbed, grads, seconds, inputs, strict=True
            )
        ]
    # Here, unlike for one task, nothing is left of the graph.
    perturbed = [each.detach().requires_grad_() for each in perturbed]
    clean = [loss_of(x) for loss_of, x in zip(losses_of, inputs, strict=True)]
    robust = [loss_of(x) for loss_of, x in zip(losses_of, perturbed, strict=True)]
    h = log_det(_input_gradients(robust, perturbed))
    loss = torch.stack(clean + robust).mean() + weight * h
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def log_det(grads: list[Tensor]) -> Tensor:
    """Return the diversity of gradients."""
    flat = [grad.flatten(1) for grad in grads]
    units = [grad / (grad.norm(dim=1, keepdim=True) + 1e-10) for grad in flat]
    columns = torch.stack(units, dim=2)
    ridge = 1e-5 * torch.eye(len(grads)).expand(len(columns), -1, -1)
    return (torch.bmm(columns.mT, columns) + ridge).det().log().mean()


def _input_gradients(losses: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    return [
        torch.autograd.grad(loss, each, create_graph=True)[0]
        for loss, each in zip(losses, inputs, strict=True)
    ]


def _start(inputs: Tensor) -> Tensor:
    noise = (2 * torch.rand(inputs.shape) - 1) * EPS
    return (inputs + noise).requires_grad_()


def _ascend(perturbed: Tensor, grad: Tensor, inputs: Tensor) -> Tensor:
    """Take a step; masks find the pixels that have left the ball."""
    values = perturbed.detach()
    values.add_(STEP * grad.sign())
    lower, upper = inputs - EPS, inputs + EPS
    below = values < lower
    values[below] = lower[below]
    above = values > upper
    values[above] = upper[above]
    return perturbed.clamp(0, 1)
