from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import Tensor

from lightly_adv.attacks import Attack
from lightly_adv.testing import AttackTester
from lightly_adv.threat_model import PerturbationBox


@dataclass(frozen=True)
class Momentum(Attack):
    """Sums gradients, in the right place or in a wrong one."""

    random_start: bool = False
    leak: bool = False
    own: dict[str, Any] = field(default_factory=dict, compare=False)

    def update(
        self, delta: Tensor, grad: Tensor, box: PerturbationBox, memory: dict[str, Any]
    ) -> Tensor:
        kept = self.own if self.leak else memory
        kept["sum"] = kept.get("sum", 0.0) + grad.to(delta.dtype)
        return self.threat_model.ascend(
            delta, kept["sum"], box, step_size=self.resolved_step_size
        )


@pytest.mark.parametrize("check", AttackTester.checks())
def test_state_of_a_run_belongs_into_its_memory(check: str) -> None:
    AttackTester(Momentum).run(check)


def test_state_in_the_attack_is_found() -> None:
    tester = AttackTester(lambda each: Momentum(each, leak=True))
    tester.run("check_repeatable")
    with pytest.raises(AssertionError, match=r"under Linf, the attack remembers the"):
        tester.run("check_keeps_nothing")


def test_only_the_norms_named_are_tried() -> None:
    seen = []

    def create(threat_model: Any) -> Attack:
        seen.append(threat_model.norm)
        return Attack(threat_model, steps=1)

    AttackTester(create, norms=["L2"]).run("check_repeatable")
    assert set(seen) == {"L2"}
