"""Low-rank updates of weights, which merge into them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize

_WITH_WEIGHT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LowRank(nn.Module):
    """Adds a matrix of low rank to a weight, at first zero.

    - [0] LoRA: Low-Rank Adaptation of Large Language Models, 2021,
      https://arxiv.org/abs/2106.09685

    Args:
        weight: The weight, (out, ...). Of a convolution all but the first dimension
            are the columns.
        rank: The rank, at most that of the weight.

    Examples:
        >>> weight = nn.Linear(6, 4).weight
        >>> bool((LowRank(weight, rank=2)(weight) == weight).all())
        True
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with the update."""
        return weight + (self.up @ self.down).view_as(weight)


def add_lora(
    network: nn.Module, rank: int, *, layers: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Freeze a network, and give its layers low-rank updates that train.

    Until they train the network answers as before. A weight whose rank is less gets
    an update of that rank. The state gets other keys; `merged` has the old ones.

    Args:
        network: The network, which is changed.
        rank: The rank of the updates.
        layers: Names of linear and convolution layers. Defaults to all of them.

    Returns:
        Names of the layers.

    Raises:
        ValueError: If the rank is less than 1, if a layer is of another kind or is
            parametrized already, or if there is none.

    Examples:
        >>> network = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        >>> add_lora(network, rank=2)
        ('0',)
        >>> sum(p.numel() for p in network.parameters() if p.requires_grad)
        32
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ValueError(f"rank={rank!r} of LoRA; expected an integer of at least 1.")
    modules = dict(network.named_modules())
    if layers is None:
        layers = [n for n, part in modules.items() if isinstance(part, _WITH_WEIGHT)]
    if not layers:
        raise ValueError(
            f"this {type(network).__name__} has no linear and no convolution layer "
            "for LoRA; train 'all' or 'norm' instead."
        )
    for name in layers:
        _check_layer(name, modules)
    network.requires_grad_(False)
    for name in layers:
        layer = modules[name]
        update = LowRank(layer.get_parameter("weight"), rank)
        parametrize.register_parametrization(layer, "weight", update)
    return tuple(layers)


def merged(network: nn.Module) -> nn.Module:
    """Return a copy in which low-rank updates are part of the weights.

    The keys of its state are those that the network had before `add_lora`, its
    answers those that it has now.

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 4))
        >>> names = add_lora(network, rank=1)
        >>> list(merged(network).state_dict())
        ['0.weight', '0.bias']
    """
    twin = copy.deepcopy(network)
    for layer in twin.modules():
        if _has_update(layer):
            _merge(layer)
    return twin


def _merge(layer: nn.Module) -> None:
    """Replace a weight that is computed by one that is stored."""
    # Not remove_parametrizations: it would change the class, which copies share.
    weight = layer.get_parameter("parametrizations.weight.original")
    value: Tensor = layer.weight  # type: ignore[assignment]
    value = value.detach().clone()
    del layer.parametrizations
    layer.__class__ = type(layer).__mro__[1]
    stored = nn.Parameter(value, requires_grad=weight.requires_grad)
    # In the place that it had, before the bias.
    layer._parameters = {"weight": stored, **layer._parameters}


def _check_layer(name: str, modules: dict[str, nn.Module]) -> None:
    layer = modules.get(name)
    if layer is None:
        raise ValueError(f"LoRA on {name!r}, but the network has no such layer.")
    if not isinstance(layer, _WITH_WEIGHT):
        raise ValueError(
            f"LoRA on {name!r}, which is a {type(layer).__name__}; expected a linear "
            "or a convolution layer. Leave it out of layers=."
        )
    if (
        parametrize.is_parametrized(layer, "weight")
        or "weight" not in layer._parameters
    ):
        raise ValueError(
            f"LoRA on {name!r}, whose weight is computed from others already, as by "
            "weight_norm or LoRA; merge these first."
        )


def _has_update(layer: nn.Module) -> bool:
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    updates = layer.parametrizations["weight"]  # type: ignore[index]
    return any(isinstance(each, LowRank) for each in updates)
