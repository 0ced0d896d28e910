from __future__ import annotations

from torch import Tensor

from tests.doctor.healthy import Healthy, blamed, examine, told


class Counter:
    """Neither a module nor a built-in container."""

    def __init__(self) -> None:
        self.calls = 0


class Leaking(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.counter = Counter()

    def forward(self, images: Tensor) -> Tensor:
        self.counter.calls += 1
        return super().forward(images)


def test_state_out_of_reach_is_named() -> None:
    diagnosis = examine(Leaking())
    assert blamed(diagnosis) == {"isolation": "FAIL"}
    text = told(diagnosis, "isolation")
    assert "would change counter.calls:" in text
    assert "Make it a buffer or an attribute of the module." in text
