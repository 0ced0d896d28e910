"""All 19 corruptions, through one table."""

from __future__ import annotations

import pytest
import torch

from lightly_adv.evaluation.corruptions import PUBLISHED, corrupt
from tests.evaluation.corruptions.scenes import smooth

NAMES = list(PUBLISHED)
STEADY = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur"),
    *("gaussian_blur", "zoom_blur", "fog", "brightness", "contrast", "pixelate"),
    *("jpeg_compression", "snow"),
}
"""Corruptions whose distance from the clean image grows with every severity."""
SAME = {
    *("defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast"),
    *("pixelate", "jpeg_compression", "saturate"),
}
"""Corruptions that do not draw."""
TURNING = {"elastic_transform", "spatter"}
"""Corruptions whose published strengths change in kind, not only in size."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (40, 71)])
def test_images_of_any_size_stay_images(
    name: str, severity: int, size: tuple[int, int]
) -> None:
    images = smooth(3, *size)
    before = images.clone()
    found = corrupt(images, name, severity)
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
    torch.testing.assert_close(255 * found, (255 * found).round(), rtol=0, atol=1e-4)
    if (name, severity, size) != ("zoom_blur", 1, (8, 8)):  # less than half a pixel
        assert not torch.equal(found, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [32, 53])
def test_the_batch_does_not_matter(name: str, size: int) -> None:
    images = smooth(7, size, size)
    places = [3, 1, 4, 15, 9, 2, 6]
    together = corrupt(images, name, 4, positions=places, seed=5)
    for batch in (1, 2):
        parts = [
            corrupt(images[k : k + batch], name, 4, positions=where, seed=5)
            for k in range(0, 7, batch)
            for where in [places[k : k + batch]]
        ]
        assert torch.equal(together, torch.cat(parts))


@pytest.mark.parametrize("name", NAMES)
def test_draws_differ_by_seed_and_position(name: str) -> None:
    one = smooth(1)
    found = corrupt(one, name, 5)
    assert torch.equal(found, corrupt(one, name, 5)) is True
    for other in (
        corrupt(one, name, 5, positions=[1]),
        corrupt(one, name, 5, seed=1),
    ):
        assert torch.equal(found, other) is (name in SAME)


@pytest.mark.parametrize("name", NAMES)
def test_severities_lead_away_from_the_image(name: str) -> None:
    images = smooth(30)
    distance = [
        float((corrupt(images, name, severity) - images).abs().mean())
        for severity in (1, 2, 3, 4, 5)
    ]
    assert min(distance) > 0
    if name not in TURNING:
        assert distance[4] > 1.05 * distance[0]
    if name in STEADY:
        assert distance == sorted(distance)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"pixelate"}))
def test_large_images_are_corrupted_as_much(name: str) -> None:
    large = smooth(6).repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    small = smooth(6)
    near, far = (
        float((corrupt(images, name, 5) - images).abs().mean())
        for images in (small, large)
    )
    assert far == pytest.approx(near, rel=0.5)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"saturate"}))
def test_gray_images(name: str) -> None:
    found = corrupt(smooth(2)[:, :1], name, 3)
    assert found.shape == (2, 1, 32, 32)


def test_gray_images_cannot_be_saturated() -> None:
    with pytest.raises(ValueError, match="leave 'saturate' out"):
        corrupt(smooth(2)[:, :1], "saturate", 3)


@pytest.mark.parametrize("name", ["fog", "gaussian_blur", "elastic_transform"])
def test_half_precision_and_gradients(name: str) -> None:
    images = smooth(2)
    found = corrupt(images.half(), name, 3)
    assert found.dtype == torch.float16
    images.requires_grad_()
    assert not corrupt(images, name, 3).requires_grad


def test_the_global_random_state_stays() -> None:
    before = torch.get_rng_state()
    for name in NAMES:
        corrupt(smooth(1), name, 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"corruption": "frist"}, "Did you mean 'frost'"),
        ({"severity": 6}, r"severities=\[6\]"),
        ({"positions": [1]}, "for 2 images"),
        ({"positions": [-1, 1]}, "none of them negative"),
        ({"seed": -1}, "seed=-1 is negative"),
        ({"images": torch.rand(3, 4, 4)}, r"shape \(3, 4, 4\)"),
        ({"images": torch.rand(1, 4, 8, 8)}, "1 or 3 channels"),
        ({"images": torch.rand(0, 3, 8, 8)}, "one image or more"),
        ({"images": torch.rand(2, 3, 8, 8) - 0.5}, "expected \\[0, 1\\]"),
        ({"images": torch.full((2, 3, 8, 8), torch.nan)}, "from nan to nan"),
    ],
)
def test_refusals(change: dict[str, object], words: str) -> None:
    given = {
        "images": torch.rand(2, 3, 8, 8),
        "corruption": "frost",
        "severity": 1,
        **change,
    }
    with pytest.raises(ValueError, match=words):
        corrupt(**{**given, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8).byte(), [[0.5]]])
def test_refused_types(images: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="expected a floating tensor"):
        corrupt(images, "fog", 1)
