"""Several pretext tasks on one trunk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from torch import Generator, Tensor, nn

from lightly_adv import functional
from lightly_adv.functional import validation
from lightly_adv.models import backbones, stages
from lightly_adv.pretext import second_derivatives
from lightly_adv.pretext.registry import build_task
from lightly_adv.pretext.task import PretextTask

Frame: TypeAlias = Literal["inputs", "images"]
"""Where gradients are compared: in the inputs of the tasks, or in the images."""


class PretextEnsemble(nn.Module):
    """Several pretext tasks that share the trunk of a backbone.

    Each task has a last stage and a head of its own; what lies before the last stage
    is one network for all. The last stage of the first task is that of `backbone`,
    which is what is kept after training.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        tasks: Names of pretext tasks, also of those of other packages; or a mapping
            from names of your own to classes of tasks, which take `backbone=`.
        backbone: A name that timm knows or a module, from images (B, 3, H, W) to
            features (B, D), that tells its stages.
        task_options: By name of the task, arguments for it besides the backbone.

    Raises:
        TypeError: If a task is no `PretextTask`.
        ValueError: If there are fewer than two tasks, if one comes twice, if
            `task_options` are for none of them or do not fit, if a name or the stages
            are unknown, or if a name cannot be that of a submodule.

    Examples:
        >>> import torch
        >>> ensemble = PretextEnsemble(
        ...     ["rotation", "jigsaw"], backbone="resnet8_tiny",
        ...     task_options={"jigsaw": {"num_permutations": 5}},
        ... )
        >>> inputs, targets = ensemble.draw(torch.rand(4, 3, 32, 32))
        >>> [tuple(each.shape) for each in ensemble.logits(inputs, targets)]
        [(4, 4), (4, 6)]
    """

    def __init__(
        self,
        tasks: Sequence[str] | Mapping[str, Callable[..., PretextTask]],
        backbone: str | nn.Module = "resnet18_small",
        *,
        task_options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        _check_names(tasks, dict(task_options or {}))
        own = backbones.create_backbone(backbone)
        last = stages.last_stage(own)
        self.tasks = nn.ModuleDict()
        for name in tasks:
            branch = share_trunk(own, last) if len(self.tasks) else own
            arguments = {**(task_options or {}).get(name, {}), "backbone": branch}
            task = tasks[name] if isinstance(tasks, Mapping) else name
            self.tasks[name] = build_task(task, name, arguments)

    @property
    def names(self) -> list[str]:
        """Names of the tasks, in their order."""
        return list(self.tasks)

    @property
    def backbone(self) -> nn.Module:
        """The trunk with the last stage of the first task."""
        return self._each[0].backbone

    @property
    def normalize(self) -> nn.Module:
        """What stands in front of the backbone."""
        return self._each[0].normalize

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Turn images into a question of each task, and the answers.

        Args:
            images: Images of shape (B, 3, H, W) with pixels in [0, 1].
            generator: Where the randomness comes from; torch's global generator if
                None.

        Returns:
            Inputs and targets, one tensor for each task.
        """
        drawn = [task.draw(images, generator) for task in self._each]
        inputs, targets = zip(*drawn, strict=True)
        return list(inputs), list(targets)

    def logits(
        self, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return the logits of each task."""
        each = zip(self._each, inputs, targets, strict=True)
        return [task.logits(x, y) for task, x, y in each]

    def losses(
        self, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return the scalar loss of each task."""
        logits = self.logits(inputs, targets)
        each = zip(self._each, logits, targets, strict=True)
        return [task.criterion(x, y) for task, x, y in each]

    def diversity(
        self,
        losses: Sequence[Tensor],
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        *,
        frame: Frame = "inputs",
    ) -> Tensor:
        """Return how different the input gradients of the tasks are.

        See `functional.gradient_diversity`. The result can be differentiated, which
        takes second derivatives of the network. For a backbone with attention, compute
        the losses inside of `second_derivatives.attention_kernels()`.

        Args:
            losses: What `losses` returned for these inputs.
            inputs: Inputs that require a gradient.
            targets: Targets of the inputs.
            frame: "inputs" compares the gradients entry by entry, as in [0], although
                the inputs are turned and shuffled against each other. "images" puts
                their pixels back in place first, by `PretextTask.restore`.

        Raises:
            ValueError: If the gradients that are compared differ in shape, if the
                network has no second derivative, or if the frame is unknown.
        """
        check_frame(frame)
        second_derivatives.check_twice_differentiable(self)
        # One backward pass for all: no task depends on the inputs of another.
        grads = second_derivatives.input_gradients(losses, inputs)
        if frame == "images":
            each = zip(self._each, grads, targets, strict=True)
            grads = [task.restore(grad, y) for task, grad, y in each]
        _check_shapes(dict(zip(self.names, grads, strict=True)))
        return functional.gradient_diversity(grads)

    @property
    def _each(self) -> list[PretextTask]:
        return list(self.tasks.values())  # type: ignore[arg-type]


def check_frame(frame: str) -> None:
    """Refuse what is no frame.

    Raises:
        ValueError: If it is none.
    """
    validation.check_choice("frame", frame, get_args(Frame))


def share_trunk(backbone: nn.Module, own: Sequence[str]) -> nn.Module:
    """Copy a backbone, so that copy and original are one network but for some parts.

    Args:
        backbone: Any module.
        own: Names of submodules that the copy gets for itself.

    Examples:
        >>> backbone = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> copied = share_trunk(backbone, ["1"])
        >>> copied[0] is backbone[0], copied[1] is backbone[1]
        (True, False)
    """
    # What deepcopy finds in its memo it takes as it is.
    memo: dict[int, Any] = {}
    for name, module in backbone.named_modules():
        if name in own:
            continue
        if not name or any(part.startswith(f"{name}.") for part in own):
            tensors = [*module._parameters.values(), *module._buffers.values()]
            memo.update({id(each): each for each in tensors if each is not None})
        elif not any(name.startswith(f"{part}.") for part in own):
            memo[id(module)] = module
    return copy.deepcopy(backbone, memo)


def _check_names(tasks: Any, options: dict[str, Any]) -> None:
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    if len(names) < 2:
        raise ValueError(
            f"tasks={names} is no ensemble; name at least two, or use PretextModule "
            "for one."
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"tasks={names} has one task twice; give a mapping from names of your own "
            "to classes of tasks to have several of a kind."
        )
    for name in names:
        _check_name(name)
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise ValueError(
            f"task_options are given for {unknown}, but the tasks are {names}."
        )


def _check_name(name: str) -> None:
    """Refuse what nn.ModuleDict refuses, but say what to do."""
    if not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise ValueError(
            f"the task name {name!r} cannot be that of a submodule; expected one that "
            "is not empty, has no dot, and is no attribute of torch.nn.ModuleDict. "
            "Give a mapping from a name of your own to the class of the task."
        )


def _check_shapes(grads: Mapping[str, Tensor]) -> None:
    """Refuse gradients whose entries do not belong to the same places.

    As many entries are not enough: a wide image has those of a square one.
    """
    shapes = {name: tuple(grad.shape) for name, grad in grads.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"the input gradients of the tasks have the shapes {shapes}; expected the "
            "same for all. Name tasks whose inputs have one image size, or set the "
            "diversity weights to 0."
        )
