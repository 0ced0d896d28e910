"""Losses that attack what they measure."""

from lightly_adv.loss.adversarial_loss import AdversarialLoss as AdversarialLoss
