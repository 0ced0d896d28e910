"""Common corruptions: noise, blur, weather and what programs do to images."""

from lightly_adv.evaluation.corruptions import blur as blur
from lightly_adv.evaluation.corruptions import corruption
from lightly_adv.evaluation.corruptions import digital as digital
from lightly_adv.evaluation.corruptions import noise as noise
from lightly_adv.evaluation.corruptions import weather as weather
from lightly_adv.evaluation.corruptions.cifar_c import CifarC as CifarC
from lightly_adv.evaluation.corruptions.corruption import COMMON as COMMON
from lightly_adv.evaluation.corruptions.corruption import PUBLISHED as PUBLISHED
from lightly_adv.evaluation.corruptions.corruption import Corruption as Corruption
from lightly_adv.evaluation.corruptions.corruption import corrupt as corrupt
from lightly_adv.evaluation.corruptions.draws import Draws as Draws
from lightly_adv.evaluation.corruptions.evaluate import (
    evaluate_corruptions as evaluate_corruptions,
)
from lightly_adv.evaluation.corruptions.report import (
    CorruptionReport as CorruptionReport,
)

create_corruption = corruption.REGISTRY.create
list_corruptions = corruption.REGISTRY.list
register_corruption = corruption.REGISTRY.register
