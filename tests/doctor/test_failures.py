from __future__ import annotations

import pytest
import torch

from lightly_adv import ThreatModel
from lightly_adv.doctor.failures import LONGEST, failure


def caught(run: object) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        run()  # type: ignore[operator]
    return caught.value


def test_own_messages_come_as_they_are() -> None:
    error = caught(lambda: ThreatModel(eps=-1))
    assert failure("x", error).message == "eps=-1 must be finite and not negative."


def test_others_come_with_type_and_place() -> None:
    def mine() -> None:
        torch.nn.functional.linear(torch.ones(2, 3), torch.ones(2, 4))

    found = failure("x", caught(mine))
    assert found.status == "FAIL"
    assert found.message.startswith("RuntimeError: ")
    assert "(raised in mine, test_failures.py:" in found.message
    assert found.traceback.startswith("Traceback (most recent call last)")


def test_long_messages_are_cut_and_lines_are_joined() -> None:
    error = RuntimeError("a line\n  another\n" + "x" * 1000)
    assert failure("x", error).message.startswith("RuntimeError: a line another xxx")
    assert len(failure("x", error).message) < LONGEST + 40
