"""Attacks that a classifier was not trained against."""

from lightly_adv.evaluation.unforeseen import attack
from lightly_adv.evaluation.unforeseen import elastic as elastic
from lightly_adv.evaluation.unforeseen import fog as fog
from lightly_adv.evaluation.unforeseen import gabor as gabor
from lightly_adv.evaluation.unforeseen import jpeg as jpeg
from lightly_adv.evaluation.unforeseen import pixel as pixel
from lightly_adv.evaluation.unforeseen import snow as snow
from lightly_adv.evaluation.unforeseen.attack import PUBLISHED as PUBLISHED
from lightly_adv.evaluation.unforeseen.attack import Origin as Origin
from lightly_adv.evaluation.unforeseen.attack import (
    UnforeseenAttack as UnforeseenAttack,
)
from lightly_adv.evaluation.unforeseen.evaluate import attack_images as attack_images
from lightly_adv.evaluation.unforeseen.evaluate import (
    evaluate_unforeseen as evaluate_unforeseen,
)
from lightly_adv.evaluation.unforeseen.parametrization import Ball as Ball
from lightly_adv.evaluation.unforeseen.parametrization import (
    Parametrization as Parametrization,
)
from lightly_adv.evaluation.unforeseen.report import (
    UnforeseenReport as UnforeseenReport,
)

create_unforeseen_attack = attack.REGISTRY.create
list_unforeseen_attacks = attack.REGISTRY.list
register_unforeseen_attack = attack.REGISTRY.register
