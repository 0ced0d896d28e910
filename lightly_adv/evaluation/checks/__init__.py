"""Checks that tell whether a robust accuracy can be believed."""

from lightly_adv.evaluation.checks.check import Check as Check
from lightly_adv.evaluation.checks.check import CheckFunction as CheckFunction
from lightly_adv.evaluation.checks.check import SkipError as SkipError
from lightly_adv.evaluation.checks.check_context import CheckContext as CheckContext
from lightly_adv.evaluation.checks.inspection import STANDARD as STANDARD
