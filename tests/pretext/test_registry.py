from __future__ import annotations

import pytest
import timm
from torch import nn

from lightly_adv.models import Normalize
from lightly_adv.pretext import JigsawTask, RotationTask, create_pretext_task
from lightly_adv.pretext.registry import build_task
from tests.pretext.tiny import BrightTask, TinyNet, no_task


def test_by_name_and_by_class() -> None:
    named = build_task(
        "jigsaw", "jigsaw", {"backbone": TinyNet(), "grid": 2, "seed": 1}
    )
    assert isinstance(named, JigsawTask)
    assert named.grid == 2
    given = build_task(BrightTask, "mine", {"backbone": TinyNet(), "factor": 0.25})
    assert isinstance(given, BrightTask)
    assert given.factor == 0.25
    assert isinstance(build_task("rotation", "rotation", {}), RotationTask)


def test_unknown_names_and_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"Unknown pretext task 'jigsw'.*'jigsaw'"):
        build_task("jigsw", "jigsw", {})
    with pytest.raises(
        ValueError,
        match=r"options \{'gird': 2\} do not fit the pretext task 'jigsaw' .*'gird'\); "
        r"it takes grid, num_permutations, bias, selection, seed, normalize\.",
    ):
        build_task("jigsaw", "jigsaw", {"backbone": nn.Flatten(), "gird": 2})


def test_errors_of_the_task_itself_come_through() -> None:
    options = {"backbone": TinyNet(), "grid": 2, "num_permutations": 30}
    with pytest.raises(ValueError, match="30 permutations of 4 things"):
        build_task("jigsaw", "jigsaw", options)


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"task 'mine' is a Linear; expected a subclass"
    ):
        build_task(no_task, "mine", {"backbone": TinyNet()})


@pytest.mark.parametrize("name", ["rotation", "jigsaw", "selfie"])
def test_images_are_normalized_as_the_backbone_was_made_for(name: str) -> None:
    backbone: nn.Module = timm.create_model("test_resnet", num_classes=0)
    task = create_pretext_task(name, backbone=backbone)
    assert isinstance(task.normalize, Normalize)
    assert task.normalize.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    plain = create_pretext_task(name, backbone=backbone, normalize=None)
    assert isinstance(plain.normalize, nn.Identity)
