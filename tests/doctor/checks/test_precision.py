from __future__ import annotations

from typing import Any

import torch

from tests.doctor.healthy import Healthy, blamed, examine, told


class Faint(Healthy):
    """Loses most of its gradient where numbers are coarse."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        images = batch[0]
        coarse = torch.is_autocast_enabled("cpu")
        kept = (
            torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) < 0.5
        )
        images = torch.where(kept | (not coarse), images, images.detach())
        return super().training_step([images, batch[1]], batch_idx)


def test_32_bits_pass() -> None:
    text = told(examine(Healthy()), "precision")
    assert text.startswith("32-true, parameters in float32.")


def test_mixed_precision_is_compared_with_32_bits() -> None:
    diagnosis = examine(Healthy(), precision="bf16-mixed")
    assert blamed(diagnosis) == {}
    text = told(diagnosis, "precision")
    assert text.startswith("bf16-mixed, parameters in float32; ")
    diagnosis = examine(Faint(), precision="bf16-mixed")
    assert blamed(diagnosis) == {"precision": "WARN"}
    assert "of the gradient entries underflow to 0" in told(diagnosis, "precision")


def test_what_the_trainer_changes_is_told() -> None:
    text = told(examine(Healthy(), precision="16-mixed"), "precision")
    assert "the Trainer made bf16-mixed of 16-mixed on this device" in text


def test_parameters_in_16_bits_are_a_warning() -> None:
    diagnosis = examine(Healthy(), precision="bf16-true")
    assert diagnosis.statuses["precision"] == "WARN"
    assert "parameters in bfloat16" in told(diagnosis, "precision")
