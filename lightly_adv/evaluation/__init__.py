"""Robust accuracy that one can trust, and the images that show it."""

from lightly_adv.evaluation import corruptions, suites, unforeseen
from lightly_adv.evaluation.card import ResultCard as ResultCard
from lightly_adv.evaluation.card import make_card as make_card
from lightly_adv.evaluation.comparison import Comparison as Comparison
from lightly_adv.evaluation.comparison import PairedDifference as PairedDifference
from lightly_adv.evaluation.comparison import compare as compare
from lightly_adv.evaluation.comparison import images_needed as images_needed
from lightly_adv.evaluation.comparison import paired_difference as paired_difference
from lightly_adv.evaluation.confirmation import UnconfirmedError as UnconfirmedError
from lightly_adv.evaluation.corruptions import CorruptionReport as CorruptionReport
from lightly_adv.evaluation.corruptions import (
    evaluate_corruptions as evaluate_corruptions,
)
from lightly_adv.evaluation.encoders import EncoderReport as EncoderReport
from lightly_adv.evaluation.encoders import evaluate_encoder as evaluate_encoder
from lightly_adv.evaluation.evaluate import evaluate_robustness as evaluate_robustness
from lightly_adv.evaluation.evaluate import robust_curve as robust_curve
from lightly_adv.evaluation.evaluation import EvaluationOptions as EvaluationOptions
from lightly_adv.evaluation.report import Report as Report
from lightly_adv.evaluation.robustness_report import (
    RobustnessReport as RobustnessReport,
)
from lightly_adv.evaluation.suites import Suite as Suite
from lightly_adv.evaluation.transfer import measure_transfer as measure_transfer
from lightly_adv.evaluation.transfer_report import TransferReport as TransferReport
from lightly_adv.evaluation.unforeseen import UnforeseenReport as UnforeseenReport
from lightly_adv.evaluation.unforeseen import evaluate_unforeseen as evaluate_unforeseen

create_suite = suites.REGISTRY.create
list_suites = suites.REGISTRY.list
register_suite = suites.REGISTRY.register
is_suite = suites.REGISTRY.is_registered

create_corruption = corruptions.create_corruption
list_corruptions = corruptions.list_corruptions
register_corruption = corruptions.register_corruption

create_unforeseen_attack = unforeseen.create_unforeseen_attack
list_unforeseen_attacks = unforeseen.list_unforeseen_attacks
register_unforeseen_attack = unforeseen.register_unforeseen_attack
