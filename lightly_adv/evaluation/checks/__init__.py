"""Checks that tell whether a robust accuracy can be believed."""

from lightly_adv.evaluation.checks.check import Check as Check
from lightly_adv.evaluation.checks.check import CheckFunction as CheckFunction
from lightly_adv.evaluation.checks.check import SkipError as SkipError
from lightly_adv.evaluation.checks.inspection import STANDARD as STANDARD
from lightly_adv.evaluation.checks.subject import Subject as Subject
