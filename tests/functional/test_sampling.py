from __future__ import annotations

from typing import Any

import pytest
import torch

from lightly_adv.functional import sampling


@pytest.mark.parametrize(
    ("draw", "reference"),
    [(sampling.uniform, torch.rand), (sampling.gaussian, torch.randn)],
)
def test_the_generator_decides(draw: Any, reference: Any) -> None:
    like = torch.zeros(2, 3, dtype=torch.float64)
    first, again = (torch.Generator().manual_seed(1) for _ in range(2))
    expected = reference(2, 3, dtype=torch.float64, generator=again)
    assert torch.equal(draw(like, generator=first), expected)


def test_what_is_drawn_lies_where_the_tensor_does() -> None:
    like = torch.zeros(2, device="meta")
    generator = torch.Generator()
    assert sampling.source_device(generator, "meta") == torch.device("cpu")
    assert sampling.uniform(like, generator=generator).device == like.device
