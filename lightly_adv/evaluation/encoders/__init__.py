"""How robust an encoder is, with and without labels."""

from lightly_adv.evaluation.encoders.before_after import BeforeAfter as BeforeAfter
from lightly_adv.evaluation.encoders.before_after import (
    before_and_after as before_and_after,
)
from lightly_adv.evaluation.encoders.before_after import cosine_shift as cosine_shift
from lightly_adv.evaluation.encoders.evaluate import (
    evaluate_encoder as evaluate_encoder,
)
from lightly_adv.evaluation.encoders.neighbors import NeighborBank as NeighborBank
from lightly_adv.evaluation.encoders.objectives import (
    EmbeddingDistance as EmbeddingDistance,
)
from lightly_adv.evaluation.encoders.objectives import (
    KNNCrossEntropy as KNNCrossEntropy,
)
from lightly_adv.evaluation.encoders.objectives import MatchEmbedding as MatchEmbedding
from lightly_adv.evaluation.encoders.report import EncoderReport as EncoderReport
from lightly_adv.evaluation.encoders.report import NeighborResult as NeighborResult
