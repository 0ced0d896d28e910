"""The layers that `convert_dual_batchnorm` puts in the place of BatchNorm."""

from __future__ import annotations

from typing import Any

from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from lightly_adv.batch_norm.routes import RoutedLayer

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class DualBatchNorm(RoutedLayer):
    """One BatchNorm layer per route; `convert_dual_batchnorm` makes them.

    The layers in `routes` are ordinary ones: their own train/eval flags count, weight
    decay rules find them by their class, and `convert_sync_batchnorm` converts them.
    A route that is not taken in a step gets no gradient in it.

    Args:
        routes: Layers of one class by the names of their routes; the first is the
            default.

    Examples:
        >>> layer = DualBatchNorm(
        ...     {"clean": nn.BatchNorm1d(2), "adv": nn.BatchNorm1d(2)}
        ... )
        >>> sorted(layer.routes)
        ['adv', 'clean']
    """

    def __init__(self, routes: dict[str, nn.Module]) -> None:
        super().__init__(routes)
        first = next(iter(routes.values()))
        self.original_class = type(first)
        self.training = first.training

    def forward(self, features: Tensor) -> Tensor:
        """Normalise with the layer of the current route.

        Raises:
            RuntimeError: If it is called while gradients are computed, as gradient
                checkpointing does.
            ValueError: If this layer does not have the route.
        """
        normalised: Tensor = self.current()(features)
        return normalised

    def plain(self, route: str) -> nn.Module:
        """Return the layer of one route, in the class it had before the conversion."""
        norm = self.module_of(route)
        # What became SyncBatchNorm is turned back; other classes may hold more.
        if type(norm) is not self.original_class and self.original_class in _PLAIN:
            norm = _rebuilt(self.original_class, norm)
        return norm

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Fill all routes from a plain layer, if that is what there is."""
        if not any(key.startswith(f"{prefix}routes.") for key in state_dict):
            for key in next(iter(self.routes.values())).state_dict():
                value = state_dict.pop(prefix + key, None)
                for route in self.routes if value is not None else ():
                    # Loading with assign=True would tie the routes otherwise.
                    state_dict[f"{prefix}routes.{route}.{key}"] = value.clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class DualBatchNormAct(DualBatchNorm):
    """The same for timm's BatchNormAct2d, whose drop and activation are shared.

    The layers in `routes` only normalise. `torch.nn.SyncBatchNorm` would lose the
    activation of a BatchNormAct2d; here it is kept.

    Args:
        routes: Layers of class BatchNormAct2d by the names of their routes.
    """

    def __init__(self, routes: dict[str, nn.Module]) -> None:
        super().__init__(routes)
        first: Any = next(iter(routes.values()))
        self.drop: nn.Module = first.drop
        self.act: nn.Module = first.act
        for route, layer in routes.items():
            self.routes[route] = _rebuilt(nn.BatchNorm2d, layer)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise with the layer of the current route, drop and activate.

        Raises:
            RuntimeError: If it is called while gradients are computed, as gradient
                checkpointing does.
            ValueError: If this layer does not have the route.
        """
        activated: Tensor = self.act(self.drop(super().forward(features)))
        return activated

    def plain(self, route: str) -> nn.Module:
        """Return a BatchNormAct2d with the layer of one route."""
        layer: nn.Module = _rebuilt(BatchNormAct2d, self.module_of(route))
        layer.drop, layer.act = self.drop, self.act
        return layer


def _rebuilt(kind: type[nn.Module], norm: Any) -> Any:
    """Return a layer of another class with the same parameters and statistics."""
    layer: Any = kind(norm.num_features, affine=False, track_running_stats=False)
    for name in ("eps", "momentum", "affine", "track_running_stats", "training"):
        setattr(layer, name, getattr(norm, name))
    for name in ("weight", "bias", "running_mean", "running_var"):
        setattr(layer, name, getattr(norm, name))
    layer.num_batches_tracked = norm.num_batches_tracked
    return layer
