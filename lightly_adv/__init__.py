"""Adversarial training for Lightly models and timm backbones."""

from lightly_adv.attacks import FGSM as FGSM
from lightly_adv.attacks import PGD as PGD
from lightly_adv.attacks import create_attack as create_attack
from lightly_adv.attacks import is_attack as is_attack
from lightly_adv.attacks import list_attacks as list_attacks
from lightly_adv.attacks import register_attack as register_attack
from lightly_adv.callbacks import AdversarialTraining as AdversarialTraining
from lightly_adv.isolation.isolated import isolated as isolated
from lightly_adv.threat_model import ThreatModel as ThreatModel

__version__ = "0.1.0"
