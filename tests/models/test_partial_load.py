from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lightly_adv.methods import RobustClassifier
from lightly_adv.models import create_backbone, save_backbone
from lightly_adv.models.partial_load import load_partially


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A backbone file."""
    torch.manual_seed(1)
    path = tmp_path / "backbone.safetensors"
    save_backbone(create_backbone("resnet8_tiny"), path)
    return path


def without(path: Path, prefix: str) -> Path:
    """Write the file again, without the tensors of one layer."""
    state = {k: v for k, v in load_file(path).items() if not k.startswith(prefix)}
    other = path.with_name("part.safetensors")
    save_file(state, other)
    return other


def test_everything(saved: Path) -> None:
    classifier = RobustClassifier("resnet8_tiny", num_classes=3, checkpoint=saved)
    expected = load_file(saved)
    for key, value in classifier.backbone.state_dict().items():
        assert torch.equal(value, expected[key])


@pytest.mark.parametrize("part", [False, True])
def test_the_trunk_leaves_the_last_stage_as_it_starts(saved: Path, part: bool) -> None:
    path = without(saved, "layer3.") if part else saved
    torch.manual_seed(2)
    fresh = create_backbone("resnet8_tiny").state_dict()
    torch.manual_seed(2)
    classifier = RobustClassifier(
        "resnet8_tiny", num_classes=3, checkpoint=path, load="trunk"
    )
    expected = load_file(saved)
    for key, value in classifier.backbone.state_dict().items():
        source = fresh if key.startswith("layer3.") else expected
        assert torch.equal(value, source[key]), key
    report = classifier.load_report
    assert report is not None
    last = {key for key in expected if key.startswith("layer3.")}
    assert set(report.matched) == set(expected) - last
    assert set(report.missing) == last
    assert set(report.unexpected) == (set() if part else last)


def test_a_trunk_with_holes_is_refused_and_nothing_is_loaded(saved: Path) -> None:
    path = without(saved, "layer1.0.conv1")
    backbone = create_backbone("resnet8_tiny")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=r"lacks 1 tensors of the trunk.*layer1\.0"):
        load_partially(backbone, path, "trunk")
    after = backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_backbone_without_stages_has_no_trunk(saved: Path) -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(ValueError, match=r"Sequential does not tell its stages"):
        load_partially(backbone, saved, "trunk")


def test_a_backbone_without_stages_cannot_be_tuned_in_part() -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))
    with pytest.raises(ValueError, match=r"does not tell its stages.*'head' or 'all'"):
        RobustClassifier(backbone, trainable="last_stage")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"load='stem' is unknown.*'trunk'"):
        RobustClassifier("resnet8_tiny", load="stem")  # type: ignore[arg-type]
