"""Common corruptions: noise, blur, weather and what programs do to images."""

from lightly_adv.evaluation.corruptions.cifar_c import CifarC as CifarC
from lightly_adv.evaluation.corruptions.corrupt import corrupt as corrupt
from lightly_adv.evaluation.corruptions.evaluate import (
    evaluate_corruptions as evaluate_corruptions,
)
from lightly_adv.evaluation.corruptions.report import (
    CorruptionReport as CorruptionReport,
)
from lightly_adv.evaluation.corruptions.table import COMMON as COMMON
from lightly_adv.evaluation.corruptions.table import CORRUPTIONS as CORRUPTIONS
from lightly_adv.evaluation.corruptions.table import Corruption as Corruption
