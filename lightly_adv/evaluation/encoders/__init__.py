"""How robust an encoder is, with and without labels."""

from lightly_adv.evaluation.encoders.evaluate import (
    evaluate_encoder as evaluate_encoder,
)
from lightly_adv.evaluation.encoders.neighbors import NeighborBank as NeighborBank
from lightly_adv.evaluation.encoders.objectives import AwayFrom as AwayFrom
from lightly_adv.evaluation.encoders.objectives import OutvoteLabels as OutvoteLabels
from lightly_adv.evaluation.encoders.objectives import Toward as Toward
from lightly_adv.evaluation.encoders.report import EncoderReport as EncoderReport
from lightly_adv.evaluation.encoders.report import NeighborVerdict as NeighborVerdict
