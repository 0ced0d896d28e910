"""Lightning callbacks."""

from lightly_adv.callbacks.adversarial_training import (
    AdversarialTraining as AdversarialTraining,
)
