"""Pure tensor functions."""

from lightly_adv.functional import norms as norms
from lightly_adv.functional import pixels as pixels
