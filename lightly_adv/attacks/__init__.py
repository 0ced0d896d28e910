"""Attacks: from an objective and views to views that raise the objective."""

from lightly_adv.attacks.apgd import APGD as APGD
from lightly_adv.attacks.apgd import APGDTargeted as APGDTargeted
from lightly_adv.attacks.attack import Attack as Attack
from lightly_adv.attacks.attack_like import AttackLike as AttackLike
from lightly_adv.attacks.classification import (
    ClassificationObjective as ClassificationObjective,
)
from lightly_adv.attacks.pgd import FGSM as FGSM
from lightly_adv.attacks.pgd import PGD as PGD
from lightly_adv.attacks.schedule import AttackSchedule as AttackSchedule
from lightly_adv.attacks.square import Square as Square
from lightly_adv.registry import Registry

REGISTRY = Registry[Attack]("attack", "lightly_adv.attacks")
"""The attacks by name."""

create_attack = REGISTRY.create
load_attack = REGISTRY.load
list_attacks = REGISTRY.list
register_attack = REGISTRY.register
is_attack = REGISTRY.is_registered

register_attack("apgd")(APGD)
register_attack("apgd-t")(APGDTargeted)
register_attack("fgsm")(FGSM)
register_attack("pgd")(PGD)
register_attack("square")(Square)
