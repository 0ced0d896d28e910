"""Turning a pre-trained backbone into a classifier, standard or robust."""

from lightly_adv.finetuning.robust_classifier import (
    RobustClassifier as RobustClassifier,
)
from lightly_adv.finetuning.robust_classifier import Trainable as Trainable
