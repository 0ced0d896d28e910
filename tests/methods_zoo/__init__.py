"""One small replica of every method that Lightly documents."""

from __future__ import annotations

from tests.methods_zoo import (
    clustering,
    contrastive,
    decorrelation,
    distillation,
    local,
    masked,
    masked_clusters,
    siamese,
)
from tests.methods_zoo.method import Method

METHODS: list[Method] = sorted(
    [
        *clustering.METHODS,
        *contrastive.METHODS,
        *decorrelation.METHODS,
        *distillation.METHODS,
        *local.METHODS,
        *masked.METHODS,
        *masked_clusters.METHODS,
        *siamese.METHODS,
    ],
    key=lambda method: method.name.lower(),
)
