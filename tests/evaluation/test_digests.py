from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

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


def test_data_tell_order_images_and_labels() -> None:
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


EYE = torch.eye(4)
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "COO": lambda x: x.to_sparse(),
    "CSR": lambda x: x.to_sparse_csr(),
    "CSC": lambda x: x.to_sparse_csc(),
    "BSR": lambda x: x.to_sparse_bsr((2, 2)),
    "BSC": lambda x: x.to_sparse_bsc((2, 2)),
    "float8": lambda x: x.to(torch.float8_e4m3fn),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
    "quantised per channel": lambda x: torch.quantize_per_channel(
        x, torch.full((4,), 0.1), torch.zeros(4).long(), 0, torch.qint8
    ),
    "nested": lambda x: torch.nested.nested_tensor([x, x[:2]]),
    "jagged": lambda x: torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged),
    "conjugate": lambda x: (1j * x).conj(),
    "negated": lambda x: (1j * x).conj().imag,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_of_other_layouts_tell_their_values(layout: str) -> None:
    def digest(values: Tensor) -> str:
        model = nn.Module()
        model.register_buffer("extra", LAYOUTS[layout](values))
        return digests.of_model(model)

    other = EYE.clone()
    other[0, 0] = 2
    assert digest(EYE) == digest(EYE.clone()) != digest(other)


def test_the_scale_of_quantised_tensors_is_told() -> None:
    one, other = nn.Module(), nn.Module()
    one.register_buffer("x", torch.quantize_per_tensor(EYE, 0.1, 0, torch.quint8))
    other.register_buffer("x", torch.quantize_per_tensor(2 * EYE, 0.2, 0, torch.quint8))
    assert digests.of_model(one) != digests.of_model(other)
