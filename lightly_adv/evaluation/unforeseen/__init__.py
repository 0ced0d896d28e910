"""Attacks that a classifier was not trained against."""

from lightly_adv.evaluation.unforeseen.attacks import ATTACKS as ATTACKS
from lightly_adv.evaluation.unforeseen.attacks import Origin as Origin
from lightly_adv.evaluation.unforeseen.attacks import (
    UnforeseenAttack as UnforeseenAttack,
)
from lightly_adv.evaluation.unforeseen.evaluate import (
    attack_images as attack_images,
)
from lightly_adv.evaluation.unforeseen.evaluate import (
    evaluate_unforeseen as evaluate_unforeseen,
)
from lightly_adv.evaluation.unforeseen.report import (
    UnforeseenReport as UnforeseenReport,
)
