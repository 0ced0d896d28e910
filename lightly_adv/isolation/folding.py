"""BatchNorm as part of the convolution in front of it, while a network is attacked."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightly_adv.isolation.routes import RoutedLayer


class _Normalization(NamedTuple):
    """What `F.batch_norm` is called with, behind the maps to normalise."""

    mean: Tensor | None
    var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


Condition = tuple[bool, bool, torch.dtype]
Cache = dict[int, tuple[list[object], Tensor, Tensor]]


@contextmanager
def folded_batch_norm(module: nn.Module) -> Iterator[None]:
    """Compute BatchNorm layers in eval mode as part of the convolution before them.

    In eval mode BatchNorm multiplies and shifts each channel by constants, which the
    weight and bias of a convolution can carry. Inside of the block, a convolution that
    is registered right before a BatchNorm layer waits until its output is asked for:
    BatchNorm in eval mode gets both in one, anybody else gets the plain output. So
    nothing has to be known about the network, routes of BatchNorm layers hold, and
    hooks and other layers see what they always see, but for rounding.

    No parameter or buffer is touched, but their values must not change inside. What
    requires a gradient is not folded: freeze the parameters first.

    Args:
        module: The network. Compiled and scripted ones stay as they are.

    Examples:
        >>> module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> images = torch.rand(2, 3, 8, 8)
        >>> plain = module(images)
        >>> with torch.no_grad(), folded_batch_norm(module):
        ...     bool(torch.allclose(module(images), plain, atol=1e-6))
        True
    """
    convolutions = [] if _is_compiled(module) else list(_before_batch_norm(module))
    try:
        for convolution in convolutions:
            vars(convolution)["forward"] = functools.partial(_pending, convolution, {})
        yield
    finally:
        for convolution in convolutions:
            vars(convolution).pop("forward", None)


class _Pending(Tensor):
    """The output of a convolution, which is computed when it is asked for."""

    convolution: nn.Conv2d
    images: Tensor
    version: int
    condition: Condition
    cache: Cache
    output: Tensor | None

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute the output, with BatchNorm or for whatever else comes."""
        options = dict(kwargs or {})
        if args and isinstance(args[0], _Pending) and args[0].output is None:
            if func in _DIMENSIONS:
                return args[0].images.dim()
            if func is F.batch_norm:
                normalization = _Normalization(*args[1:], **options)
                if _is_foldable(args[0], normalization):
                    return _normalized(args[0], normalization)
        return func(*map(_computed, args), **_computed(options))


def _pending(convolution: nn.Conv2d, cache: Cache, input: Tensor) -> _Pending:
    found = torch.empty(0).as_subclass(_Pending)
    found.convolution, found.images = convolution, input
    found.version, found.condition = _version(input), _condition(input)
    found.cache, found.output = cache, None
    return found


def _computed(value: Any) -> Any:
    """Return a value with plain outputs in place of pending ones."""
    if isinstance(value, _Pending):
        if value.output is None:
            own, (grad, autocast, dtype) = value.convolution, value.condition
            kind = value.images.device.type
            with (
                torch.set_grad_enabled(grad),
                torch.autocast(kind, enabled=autocast, dtype=dtype),
            ):
                value.output = _convolve(value, own.weight, own.bias)
        return value.output
    if type(value) in (list, tuple):
        return type(value)(map(_computed, value))
    if type(value) is dict:
        return {key: _computed(each) for key, each in value.items()}
    return value


def _is_foldable(pending: _Pending, found: _Normalization) -> bool:
    """Tell whether BatchNorm does the same to every batch, and is not trained."""
    own = pending.convolution
    tensors = (found.mean, found.var, found.weight, found.bias, own.weight, own.bias)
    trained = any(each is not None and each.requires_grad for each in tensors)
    constant = not (found.training or found.mean is None or found.var is None)
    return constant and not trained and _condition(pending.images) == pending.condition


def _normalized(pending: _Pending, found: _Normalization) -> Tensor:
    """Return what BatchNorm makes of the output, by one convolution."""
    own = pending.convolution
    key: list[object] = [*found, own.weight, own.bias]
    known = pending.cache.get(id(found.mean))
    if known is None or any(a is not b for a, b in zip(known[0], key, strict=True)):
        known = pending.cache[id(found.mean)] = (key, *_folded(own, found))
    return _convolve(pending, *known[1:])


@torch.no_grad()
def _folded(own: nn.Conv2d, found: _Normalization) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with BatchNorm behind it."""
    assert found.mean is not None
    assert found.var is not None
    scale = (found.var + found.eps).rsqrt()
    scale = scale if found.weight is None else scale * found.weight
    shift = -found.mean if own.bias is None else own.bias - found.mean
    shift = shift * scale if found.bias is None else shift * scale + found.bias
    weight = own.weight * scale.view(-1, 1, 1, 1)
    return weight.to(own.weight.dtype), shift.to(own.weight.dtype)


def _convolve(pending: _Pending, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve what the convolution was called with.

    Raises:
        RuntimeError: If that is not there any more.
    """
    own = pending.convolution
    if _version(pending.images) != pending.version:
        raise RuntimeError(
            f"the input of {own} was changed in place after the call, and before its "
            "output was used. A network that does this cannot be trained either; let "
            "it change a copy."
        )
    output: Tensor = own._conv_forward(pending.images, weight, bias)
    return output


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _condition(images: Tensor) -> Condition:
    """Return what the result of an operation depends on, besides its inputs."""
    kind = images.device.type
    autocast = torch.is_autocast_enabled(kind)
    return torch.is_grad_enabled(), autocast, torch.get_autocast_dtype(kind)


def _before_batch_norm(module: nn.Module) -> Iterator[nn.Conv2d]:
    """Yield the convolutions that are registered right before a BatchNorm layer."""
    containers = (nn.ModuleDict, nn.ModuleList, nn.Sequential, RoutedLayer)
    layers = [part for part in module.modules() if not isinstance(part, containers)]
    for layer, following in itertools.pairwise(layers):
        if _is_plain(layer) and isinstance(following, _BatchNorm):
            yield layer


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Tell convolutions from those of other classes, which may compute more."""
    return type(layer) is nn.Conv2d and "forward" not in vars(layer)


def _is_compiled(module: nn.Module) -> bool:
    return any(
        hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None)
        for part in module.modules()
    )


_DIMENSIONS = {Tensor.dim, Tensor.ndim.__get__}  # type: ignore[attr-defined]
"""What BatchNorm layers ask for first; a convolution does not change it."""
