"""Building blocks of models: normalisation and heads."""

from lightly_adv.models.modules.heads import (
    RotationPredictionHead as RotationPredictionHead,
)
from lightly_adv.models.modules.normalize import (
    IMAGENET_NORMALIZE as IMAGENET_NORMALIZE,
)
from lightly_adv.models.modules.normalize import Normalize as Normalize
