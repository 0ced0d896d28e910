"""Checks that tell whether a robust accuracy can be believed."""

from lightly_adv.evaluation.checks.check import Check as Check
