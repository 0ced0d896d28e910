"""Networks that commands evaluate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightly_adv.cli import networks
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm


def run(eps: float, norm: Norm = "Linf") -> Any:
    return SimpleNamespace(threat_model=ThreatModel(norm=norm, eps=eps))


def member(name: str, *classes: str) -> Any:
    """A classifier of some classes."""
    return SimpleNamespace(
        weights=Path(name), num_classes=len(classes), class_names=list(classes)
    )


def test_members_for_classes_of_other_names_are_refused() -> None:
    first = member("a", "cat", "dog")
    networks.check_classifiers([first, member("b", "cat", "dog")])
    with pytest.raises(ValueError, match=r"a was trained on .*'cat'.*b on .*'cow'"):
        networks.check_classifiers([first, member("b", "cow", "dog")])


def test_the_threat_model_is_that_of_the_runs_or_what_is_asked() -> None:
    pair = [run(0.1), run(0.2)]
    assert networks.threat_model(pair[:1] * 2, norm=None, eps=None).eps == 0.1
    with pytest.raises(ValueError, match=r"different threat models \(Linf 0.1, Linf"):
        networks.threat_model(pair, norm=None, eps=None)
    found = networks.threat_model(pair, norm="L2", eps=0.3)
    assert (found.eps, found.norm) == (0.3, "L2")


def test_another_norm_takes_a_radius_of_its_own() -> None:
    usual = r"not that of the run, Linf 8/255, .* give --eps, too, such as 0\.5,"
    with pytest.raises(ValueError, match=usual):
        networks.threat_model([run(8 / 255)], norm="L2", eps=None)
    with pytest.raises(ValueError, match="such as 12, which is usual in L1"):
        networks.threat_model([run(1.0, "L1"), run(1.0)], norm="L1", eps=None)
    assert networks.threat_model([run(1.0, "L2")], norm="L2", eps=None).eps == 1.0
