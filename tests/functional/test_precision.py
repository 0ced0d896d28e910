from __future__ import annotations

import torch

from lightly_adv.functional import precision


def test_fp16_is_that_of_autocast_or_of_the_tensor() -> None:
    single, half = torch.zeros(1), torch.zeros(1).half()
    assert not precision.is_fp16(single)
    assert precision.is_fp16(half)
    with torch.autocast("cpu", dtype=torch.float16):
        assert precision.is_fp16(single)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not precision.is_fp16(half)


def test_only_inference_tensors_are_copied() -> None:
    plain = torch.ones(2)
    assert precision.normal_tensor(plain) is plain
    with torch.inference_mode():
        made = torch.ones(2)
    weight = torch.ones(2, requires_grad=True)
    (weight * precision.normal_tensor(made)).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(weight.grad, plain)  # type: ignore[arg-type]
