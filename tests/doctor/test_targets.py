from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightly_adv.doctor import targets
from lightly_adv.doctor.targets import Target, TargetError

LABELS = torch.tensor([0, 2, 1])
LOGITS = torch.zeros(3, 4)


def test_every_way_to_a_cross_entropy_is_watched() -> None:
    with targets.watched([torch.zeros(3, 1), LABELS]) as seen:
        F.cross_entropy(LOGITS, LABELS)
        nn.CrossEntropyLoss()(input=torch.zeros(3, 5), target=LABELS)
        F.nll_loss(torch.zeros(3, 6), LABELS.clone())
        F.cross_entropy(LOGITS, LOGITS.softmax(dim=1))
        F.cross_entropy(torch.zeros(3, 4, 2, 2), torch.zeros(3, 2, 2).long())
    assert seen == [
        Target(4, 0, 2, labels=True),
        Target(5, 0, 2, labels=True),
        Target(6, 0, 2, labels=False),
        Target(4, 0, 0, labels=False),
    ]


def test_targets_out_of_range_raise_before_they_are_computed_with() -> None:
    with (
        targets.watched(LABELS) as seen,
        pytest.raises(TargetError, match=r"labels of the batch span \[0, 2\].*2 class"),
    ):
        F.cross_entropy(LOGITS[:, :2], LABELS)
    assert seen == [Target(2, 0, 2, labels=True)]
    with targets.watched(None), pytest.raises(TargetError, match=r"the targets span"):
        F.cross_entropy(LOGITS, -LABELS)


def test_ignored_targets_are_ignored() -> None:
    masked = torch.tensor([0, -100, 1])
    other = torch.tensor([0, 9, 1])
    with targets.watched(None) as seen:
        F.cross_entropy(LOGITS, masked)
        F.cross_entropy(LOGITS, other, ignore_index=9)
        F.cross_entropy(LOGITS[:1], torch.tensor([-100]))
    assert seen == [Target(4, 0, 1, labels=False)]
