"""Lightning callbacks."""

from lightly_adv.callbacks.adversarial_training import (
    AdversarialTraining as AdversarialTraining,
)
from lightly_adv.callbacks.exact_resume import ExactResume as ExactResume
from lightly_adv.callbacks.robust_validation import RobustValidation as RobustValidation
from lightly_adv.callbacks.throughput import Throughput as Throughput
