from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, nn

from lightly_adv.models import IMAGENET_NORMALIZE
from lightly_adv.pretext import JigsawTask


def tiny() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(3 * 64, 5))


def task(**options: object) -> JigsawTask:
    options = {"grid": 2, "num_permutations": 5, "normalize": None, **options}
    return JigsawTask(tiny(), **options)  # type: ignore[arg-type]


def test_class_0_is_the_identity_and_the_others_are_distinct() -> None:
    orders = JigsawTask(tiny()).permutations
    assert orders.shape == (31, 16)
    assert torch.equal(orders[0], torch.arange(16))
    assert len(set(map(tuple, orders.tolist()))) == 31
    assert JigsawTask(tiny(), grid=2).permutations.shape == (24, 4)


def test_each_image_is_shuffled_by_its_permutation() -> None:
    jigsaw, images = task(), torch.rand(9, 3, 32, 32)
    inputs, targets = jigsaw.draw(images)
    assert len(set(targets.tolist())) > 1
    for image, shuffled, target in zip(images, inputs, targets.tolist(), strict=True):
        for place, tile in enumerate(jigsaw.permutations[target].tolist()):
            found = shuffled[:, place // 2 * 16 :, place % 2 * 16 :][:, :16, :16]
            expected = image[:, tile // 2 * 16 :, tile % 2 * 16 :][:, :16, :16]
            assert torch.equal(found, expected)


@pytest.mark.parametrize("bias", [0.0, 0.5, 0.9, 1.0])
def test_shares_of_the_classes(bias: float) -> None:
    jigsaw = JigsawTask(tiny(), grid=4, bias=bias)
    count, generator = 40_000, Generator().manual_seed(0)
    targets = jigsaw.draw(torch.zeros(count, 1, 4, 4), generator)[1]
    found = targets.bincount(minlength=31) / count
    expected = torch.full((31,), bias / 31)
    expected[0] += 1 - bias
    if bias == 0.9:  # the numbers of the paper's code
        assert expected[0].item() == pytest.approx(0.129, abs=5e-4)
        assert expected[1].item() == pytest.approx(0.029, abs=5e-4)
    drawn = expected > 0
    assert not found[~drawn].any()
    statistic = (found - expected)[drawn].square() / expected[drawn]
    # Chi-square with 30 degrees of freedom: above 59.7 once in a thousand times.
    assert count * statistic.sum() < 59.7


def test_questions_come_from_the_generator() -> None:
    jigsaw, images = task(), torch.rand(32, 3, 32, 32)
    before = torch.get_rng_state()
    first, again = (jigsaw.draw(images, Generator().manual_seed(1)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    others = jigsaw.draw(images, Generator().manual_seed(2))
    assert not torch.equal(first[1], others[1])


def test_permutations_travel_with_the_weights() -> None:
    saved, loaded = task(seed=0, grid=4), task(seed=1, grid=4)
    assert not torch.equal(saved.permutations, loaded.permutations)
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(saved.permutations, loaded.permutations)
    images = torch.rand(8, 3, 32, 32)
    first, second = (
        each.draw(images, Generator().manual_seed(0))[0] for each in (saved, loaded)
    )
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="size mismatch for permutations"):
        task(num_permutations=6, grid=4).load_state_dict(saved.state_dict())


def test_the_seed_decides_the_permutations_and_nothing_else() -> None:
    def made(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        jigsaw = task(seed=seed, grid=4)
        return jigsaw.permutations, jigsaw.head.layers[0].weight

    first, again, other = made(3), made(3), made(4)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(first[1], other[1])


def test_far_apart_permutations_can_be_asked_for() -> None:
    def nearest(jigsaw: JigsawTask) -> int:
        orders = jigsaw.permutations
        distances = (orders[:, None] != orders).sum(dim=2)
        return int(distances.fill_diagonal_(99).min())

    far = nearest(JigsawTask(tiny(), selection="hamming"))
    assert far >= 13 > nearest(JigsawTask(tiny()))


def test_restore_undoes_draw() -> None:
    jigsaw, images = task(grid=4), torch.rand(16, 3, 32, 32)
    inputs, targets = jigsaw.draw(images)
    assert not torch.equal(inputs, images)
    assert torch.equal(jigsaw.restore(inputs, targets), images)


def test_loss_is_the_cross_entropy_of_the_whole_image() -> None:
    jigsaw = task(normalize=IMAGENET_NORMALIZE)
    inputs, targets = jigsaw.draw(torch.rand(6, 3, 32, 32))
    mean, std = (
        torch.tensor(IMAGENET_NORMALIZE[key])[:, None, None] for key in ("mean", "std")
    )
    logits = jigsaw.head(jigsaw.backbone((inputs - mean) / std))
    assert logits.shape == (6, 6)
    expected = F.cross_entropy(logits, targets)
    torch.testing.assert_close(jigsaw.loss(inputs, targets), expected)
    right = 100 * (logits.argmax(dim=1) == targets).float().mean()
    assert jigsaw.accuracy(logits, targets) == right


def test_first_and_second_derivatives() -> None:
    pool = nn.AdaptiveAvgPool2d(2)
    backbone = nn.Sequential(nn.Conv2d(3, 2, 2), nn.Tanh(), pool, nn.Flatten())
    jigsaw = JigsawTask(backbone, grid=2, num_permutations=3).double()
    inputs, targets = jigsaw.draw(torch.rand(2, 3, 4, 4, dtype=torch.float64))
    inputs.requires_grad_()
    assert torch.autograd.gradcheck(jigsaw.loss, (inputs, targets))
    assert torch.autograd.gradgradcheck(jigsaw.loss, (inputs, targets))


def test_a_grid_that_does_not_divide_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"grid=3 does not divide images of 32 x 32"):
        task(grid=3).draw(torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_permutations": 24}, "there are 23 beside the identity"),
        ({"grid": 1}, "there are 0 beside the identity"),
        ({"bias": 1.1}, r"bias=1.1 must lie in \[0, 1\]"),
        ({"bias": float("nan")}, "bias=nan"),
        ({"selection": "far"}, "selection='far' is unknown"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)


def test_it_can_be_made_on_another_device() -> None:
    with torch.device("meta"):
        jigsaw = JigsawTask("resnet8_tiny", normalize=None)
    assert {each.device.type for each in jigsaw.state_dict().values()} == {"meta"}
