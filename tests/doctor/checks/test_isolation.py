from __future__ import annotations

from torch import Tensor

from tests.doctor.healthy import Healthy, blamed, examine, told


class Leaking(Healthy):
    def __init__(self) -> None:
        super().__init__()
        # Where a generator stands is nobody's to change.
        self.calls = (number for number in range(1000))

    def forward(self, images: Tensor) -> Tensor:
        next(self.calls)
        return super().forward(images)


def test_state_out_of_reach_is_named() -> None:
    diagnosis = examine(Leaking())
    assert blamed(diagnosis) == {"isolation": "FAIL"}
    text = told(diagnosis, "isolation")
    assert "would change calls (position)" in text
    assert "attribute of the module" in text
