"""BatchNorm layers with several sets of statistics, one per route."""

from lightly_adv.batch_norm.dual_batch_norm import (
    convert_dual_batchnorm as convert_dual_batchnorm,
)
from lightly_adv.batch_norm.dual_batch_norm import export_route as export_route
from lightly_adv.batch_norm.routes import bn_route as bn_route
