"""Building blocks of models: normalisation, dual BatchNorm, pooling and heads."""

from lightly_adv.isolation.routes import bn_route as bn_route
from lightly_adv.models.modules.attention_pooling import (
    AttentionPooling as AttentionPooling,
)
from lightly_adv.models.modules.dual_batch_norm import (
    convert_dual_batchnorm as convert_dual_batchnorm,
)
from lightly_adv.models.modules.dual_batch_norm import export_route as export_route
from lightly_adv.models.modules.heads import (
    JigsawPredictionHead as JigsawPredictionHead,
)
from lightly_adv.models.modules.heads import (
    RotationPredictionHead as RotationPredictionHead,
)
from lightly_adv.models.modules.normalize import (
    IMAGENET_NORMALIZE as IMAGENET_NORMALIZE,
)
from lightly_adv.models.modules.normalize import Normalize as Normalize
from lightly_adv.models.modules.normalize import NormalizeChoice as NormalizeChoice
from lightly_adv.models.modules.normalize import normalization_of as normalization_of
