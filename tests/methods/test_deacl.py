from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lightly_adv.methods import DeACL
from lightly_adv.models import create_backbone, save_backbone
from tests.methods.published import METHODS, network, with_fixed_noise

METHOD = next(each for each in METHODS if each.name == "deacl")


def unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features, dim=1)


def test_the_loss_is_that_of_the_paper() -> None:
    module = METHOD.create(weight=3.0)
    for parameter in module.backbone.parameters():  # the student has learnt something
        parameter.data += 0.1
    made = with_fixed_noise(module)
    batch = METHOD.batch()
    found = module.training_step(batch, 0)

    normalized = module.normalize(torch.cat([batch[0], made[0]]))
    student, attacked = unit(module.backbone(normalized)).chunk(2)
    teacher = unit(module.teacher(normalized)[: len(student)])
    expected = -(student * teacher).sum(1).mean()
    expected = expected - 3.0 * (attacked * student).sum(1).mean()
    torch.testing.assert_close(found, expected)
    # Gradients flow through both sides of the second term.
    wanted = torch.autograd.grad(expected, list(module.backbone.parameters()))
    gradients = torch.autograd.grad(found, list(module.backbone.parameters()))
    torch.testing.assert_close(gradients, wanted)


def test_the_student_begins_as_the_teacher_in_a_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    clean, path = create_backbone("resnet8_tiny"), tmp_path / "clean.safetensors"
    save_backbone(clean, path)
    module = DeACL("resnet8_tiny", checkpoint=path)
    for key, value in clean.state_dict().items():
        assert torch.equal(module.backbone.state_dict()[key], value)
        assert torch.equal(module.teacher.state_dict()[key], value)
    with pytest.raises(ValueError, match="another architecture"):
        DeACL("resnet10_small", checkpoint=path)


def test_the_teacher_stays_as_it_is() -> None:
    module = METHOD.create().train()
    before = {key: value.clone() for key, value in module.teacher.state_dict().items()}
    module.training_step(METHOD.batch(), 0).backward()
    assert all(
        torch.equal(before[k], v) for k, v in module.teacher.state_dict().items()
    )
    assert not module.teacher.training


def test_another_teacher_needs_as_many_features() -> None:
    narrow = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="6 features and the teacher 3"):
        DeACL(network(), teacher=narrow)
    wide = nn.Sequential(narrow, nn.Linear(3, 6))
    assert DeACL(network(), teacher=wide).teacher is not wide


def test_a_teacher_without_weights_is_told_of() -> None:
    with pytest.warns(UserWarning, match=r"resnet8_tiny with random.*checkpoint="):
        DeACL("resnet8_tiny")
