"""Checks for authors of attacks and of modules under attack; they need no pytest."""

from lightly_adv.testing.attack_tester import EPS as EPS
from lightly_adv.testing.attack_tester import NORMALIZE as NORMALIZE
from lightly_adv.testing.attack_tester import AttackTester as AttackTester
from lightly_adv.testing.same_training import (
    assert_trains_the_same as assert_trains_the_same,
)
from lightly_adv.testing.side_effects import (
    assert_no_side_effects as assert_no_side_effects,
)
