from __future__ import annotations

import pytest
import torch
from torch import nn

from lightly_adv.methods import pseudo_labels
from lightly_adv.methods.pseudo_labels import features_of


def test_images_of_a_kind_share_a_label() -> None:
    kinds = torch.arange(12) % 3
    images = kinds[:, None, None, None] / 3 + torch.zeros(12, 3, 4, 4)
    batches = [(images[at : at + 5], kinds[at : at + 5]) for at in (0, 5, 10)]
    labels = pseudo_labels(nn.Flatten(), batches, clusters=3)
    pairs = set(zip(kinds.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == len(set(labels.tolist())) == 3


def test_the_encoder_is_asked_in_eval_mode_and_stays_as_it_is() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout())
    images = torch.rand(6, 3, 2, 2)
    found = features_of(encoder, [images])
    torch.testing.assert_close(found, images.flatten(1) / (1 + 1e-5) ** 0.5)
    assert all(layer.training for layer in encoder)
    assert int(encoder[1].num_batches_tracked) == 0  # type: ignore[arg-type]


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        pseudo_labels(nn.Flatten(), [], clusters=2)
