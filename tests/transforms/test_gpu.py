"""On an accelerator: the numbers of the CPU, and nothing that waits."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Generator

from lightly_adv.transforms import BatchedTransform

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

LIGHTLY: Any = importlib.import_module("lightly.transforms")
TRANSFORMS = [
    LIGHTLY.SimCLRTransform(32),
    LIGHTLY.DINOTransform(32, local_crop_size=16),
]


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_each_operation_equals_that_on_the_cpu(transform: Any) -> None:
    images = torch.rand(8, 3, 40, 36)
    for view in BatchedTransform(transform).views:
        pixels = images
        for operation in view.operations:
            drawn = operation.draw(pixels, Generator().manual_seed(0))
            found = operation.apply(pixels.cuda(), _to_gpu(drawn))
            pixels = operation.apply(pixels, drawn)
            torch.testing.assert_close(found.cpu(), pixels, atol=2e-5, rtol=0)


def _to_gpu(drawn: Any) -> Any:
    return torch.utils._pytree.tree_map(
        lambda value: value.cuda() if isinstance(value, torch.Tensor) else value, drawn
    )


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_nothing_waits_for_the_device(
    transform: Any, waiting_is_an_error: None
) -> None:
    batched, generator = BatchedTransform(transform), Generator("cuda").manual_seed(0)
    images = torch.zeros(8, 3, 40, 36, dtype=torch.uint8, device="cuda")
    views = batched(images, generator)
    assert all(view.is_cuda for view in views)
