"""What goes wrong with one batch, so that whoever trains on it can decide."""

from __future__ import annotations


class UnfitBatchError(ValueError):
    """This batch cannot be attacked; another one may be."""


class NotFiniteError(UnfitBatchError):
    """A view, the objective or its gradient is not finite."""


class OutOfRangeError(UnfitBatchError):
    """The views are not in the range of pixels: they are normalised in another way."""


class UnreachedError(UnfitBatchError):
    """The objective depends on none of the views."""
