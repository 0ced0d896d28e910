from __future__ import annotations

import torch
from torch.nn import functional as F

from lightly_adv.pretext import RotationPredictionHead


def test_is_one_linear_layer() -> None:
    head = RotationPredictionHead(input_dim=6)
    features = torch.rand(3, 6)
    weight, bias = head.parameters()
    assert weight.shape == (4, 6)
    assert torch.equal(head(features), F.linear(features, weight, bias))


def test_number_of_classes() -> None:
    assert RotationPredictionHead(6, num_classes=2)(torch.rand(3, 6)).shape == (3, 2)
