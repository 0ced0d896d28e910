from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv import pretext
from lightly_adv.pretext.rotation import RotationTask
from lightly_adv.pretext.task import PretextTask


class Identity(PretextTask):
    """A task without randomness."""

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return images, torch.zeros(len(images), dtype=torch.long)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)


def test_rotation_is_installed() -> None:
    assert "rotation" in pretext.list_pretext_tasks()
    assert pretext.is_pretext_task("rotation")
    task = pretext.create_pretext_task("rotation", backbone="resnet8_tiny")
    assert isinstance(task, RotationTask)


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretext.REGISTRY, "_entries", {})
    pretext.register_pretext_task("identity")(Identity)
    task = pretext.create_pretext_task("identity", backbone=nn.Flatten())
    assert isinstance(task, Identity)
    with pytest.raises(ValueError, match="'identity' is already registered"):
        pretext.register_pretext_task("identity")


def test_unknown_task() -> None:
    assert not pretext.is_pretext_task("rotatoin")
    with pytest.raises(ValueError, match=r"pretext task 'rotatoin'.*'rotation'"):
        pretext.create_pretext_task("rotatoin")
