from __future__ import annotations

import torch
from torch import Tensor

from tests import zoo
from tests.doctor.healthy import Healthy, blamed, examine, told


class Detached(Healthy):
    """As Lightly's `LinearClassifier`."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.backbone(images)
        logits: Tensor = self.fc(features)
        return logits


class Flat(Healthy):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.clamp(2, 3))


class Cropped(Healthy):
    """Sees a corner of every image, and nothing of the last two."""

    def forward(self, images: Tensor) -> Tensor:
        images = images.masked_fill(torch.arange(8)[:, None, None, None] > 5, 0.0)
        return super().forward(images[..., :7, :7])


def test_a_gradient_that_arrives_nowhere() -> None:
    diagnosis = examine(Detached())
    assert blamed(diagnosis) == {"gradient": "FAIL"}
    assert "it ends in the submodule 'backbone'" in told(diagnosis, "gradient")
    assert {"loss", "cost"} <= set(diagnosis.skipped)


def test_a_flat_loss() -> None:
    diagnosis = examine(Flat())
    assert blamed(diagnosis) == {"gradient": "FAIL"}
    assert "100 % of it are zeros" in told(diagnosis, "gradient")


def test_a_gradient_with_holes() -> None:
    diagnosis = examine(Cropped())
    assert blamed(diagnosis) == {"gradient": "WARN"}
    assert "25 % of the images receive none" in told(diagnosis, "gradient")


def test_views_without_gradient_are_named() -> None:
    diagnosis = examine(zoo.Momentum(), zoo.batches(steps=1))
    assert diagnosis.statuses["gradient"] == "PASS"
    text = told(diagnosis, "gradient")
    assert text.startswith("it reaches view 0;")
    assert "it does not reach view 1, which stays clean." in text
