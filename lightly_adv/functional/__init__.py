"""Pure tensor functions."""

from lightly_adv.functional import clustering as clustering
from lightly_adv.functional import contrastive as contrastive
from lightly_adv.functional import frequencies as frequencies
from lightly_adv.functional import losses as losses
from lightly_adv.functional import norms as norms
from lightly_adv.functional import pixels as pixels
from lightly_adv.functional.diversity import gradient_diversity as gradient_diversity
