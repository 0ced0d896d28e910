"""The result card: one evaluation as JSON, as Markdown and as one HTML file."""

from lightly_adv.evaluation.card.card import ResultCard as ResultCard
from lightly_adv.evaluation.card.card import make_card as make_card
from lightly_adv.evaluation.card.card import paths as paths
from lightly_adv.evaluation.card.curves import Curves as Curves
from lightly_adv.evaluation.card.curves import measure_curves as measure_curves
from lightly_adv.evaluation.card.examples import Example as Example
