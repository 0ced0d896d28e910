"""Adversarial training for Lightly models and timm backbones."""

from lightly_adv.attacks import APGD as APGD
from lightly_adv.attacks import FGSM as FGSM
from lightly_adv.attacks import PGD as PGD
from lightly_adv.attacks import AttackSchedule as AttackSchedule
from lightly_adv.attacks import create_attack as create_attack
from lightly_adv.attacks import list_attacks as list_attacks
from lightly_adv.attacks import register_attack as register_attack
from lightly_adv.batch_norm import convert_dual_batchnorm as convert_dual_batchnorm
from lightly_adv.callbacks import AdversarialTraining as AdversarialTraining
from lightly_adv.callbacks import RobustValidation as RobustValidation
from lightly_adv.doctor import diagnose as diagnose
from lightly_adv.evaluation import create_suite as create_suite
from lightly_adv.evaluation import evaluate_robustness as evaluate_robustness
from lightly_adv.evaluation import list_suites as list_suites
from lightly_adv.evaluation import register_suite as register_suite
from lightly_adv.isolation.isolated import isolated as isolated
from lightly_adv.loss import AdversarialLoss as AdversarialLoss
from lightly_adv.methods import AdversarialModule as AdversarialModule
from lightly_adv.methods import RobustClassifier as RobustClassifier
from lightly_adv.methods import create_method as create_method
from lightly_adv.methods import list_methods as list_methods
from lightly_adv.methods import register_method as register_method
from lightly_adv.pretext import create_pretext_task as create_pretext_task
from lightly_adv.pretext import list_pretext_tasks as list_pretext_tasks
from lightly_adv.pretext import register_pretext_task as register_pretext_task
from lightly_adv.threat_model import ThreatModel as ThreatModel

__version__ = "0.1.0"
