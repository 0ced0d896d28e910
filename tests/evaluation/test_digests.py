from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from lightly_adv.evaluation import digests


def test_files_have_the_digest_that_sha256sum_prints(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    content = bytes(range(256)) * 5000
    path.write_bytes(content)
    assert digests.of_file(path) == hashlib.sha256(content).hexdigest()


def test_models_tell_layers_and_their_settings_not_addresses() -> None:
    class Calling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.call = object()

        def extra_repr(self) -> str:
            return repr(self.call)

    models = (nn.ReLU(), nn.GELU(), nn.Dropout(0.1), nn.Dropout(0.2))
    assert len({digests.of_model(nn.Sequential(each)) for each in models}) == 4
    first, second = Calling(), Calling()
    assert repr(first.call) != repr(second.call)
    assert digests.of_model(first) == digests.of_model(second)


def test_data_tell_order_pictures_and_labels() -> None:
    images, labels = torch.rand(6, 3, 2, 2), torch.arange(6)

    def digest(images: torch.Tensor, labels: torch.Tensor, size: int) -> str:
        found = digests.Data()
        for part in zip(
            torch.split(images, size), torch.split(labels, size), strict=True
        ):
            found.add(*part)
        return found.hexdigest()

    whole = digest(images, labels, 6)
    assert digest(images, labels.int(), 4) == whole
    others = {
        digest(images.flip(0), labels, 6),
        digest(images, labels.flip(0), 6),
        digest(images[:5], labels[:5], 6),
        digest(images + 1e-3, labels, 6),
        digest(images.transpose(2, 3), labels, 6),
    }
    assert len(others) == 5
    assert whole not in others
