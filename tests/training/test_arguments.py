from __future__ import annotations

import pytest

from lightly_adv.training.arguments import check_weight


def test_weights_are_shares() -> None:
    check_weight(0)
    check_weight(1)
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"weight={weight} must lie in \[0, 1\]"):
            check_weight(weight)
