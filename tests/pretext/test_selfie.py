from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv.models import IMAGENET_NORMALIZE
from lightly_adv.models.stages import FeatureLevel, level_features
from lightly_adv.pretext import SelfieTask


def tiny(size: int = 4, dim: int = 8) -> nn.Module:
    pool = nn.AdaptiveAvgPool2d(size)
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(3 * size**2, dim), nn.Tanh())


def task(**options: object) -> SelfieTask:
    """Four by four patches of 4 x 4 pixels, in double precision, positions drawn."""
    options = {"stages": None, "depth": 1, "dropout": 0.0, **options}
    selfie = SelfieTask(tiny(), **options).double()  # type: ignore[arg-type]
    nn.init.normal_(selfie.columns)
    return selfie


def by_hand(
    selfie: SelfieTask, images: Tensor, orders: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss and the share of right answers, image by image, patch by patch."""
    mean, std = (
        torch.tensor(IMAGENET_NORMALIZE[key]).double()[:, None, None]
        for key in ("mean", "std")
    )
    losses, right = [], []
    grid, hidden_count = selfie.grid, selfie.num_masked
    for image, order in zip(images, orders.tolist(), strict=True):
        side = image.shape[-1] // grid
        features = []
        for place in range(grid**2):
            top, left = place // grid * side, place % grid * side
            patch = image[:, top : top + side, left : left + side]
            features.append(selfie.backbone(((patch - mean) / std)[None])[0])
        hidden, visible = order[:hidden_count], order[hidden_count:]
        pooled = selfie.pooling(torch.stack([features[p] for p in visible])[None])[0]
        for place in hidden:
            query = pooled + selfie.rows[place // grid] + selfie.columns[place % grid]
            logits = {
                other: sum(q * f for q, f in zip(query, features[other], strict=True))
                * selfie.logit_scale
                for other in hidden
            }
            total = sum(math.exp(value) for value in logits.values())
            losses.append(math.log(total) - float(logits[place]))
            right.append(max(logits, key=lambda p: float(logits[p])) == place)
    return torch.tensor(losses).mean(), 100 * torch.tensor(right).double().mean()


@pytest.mark.parametrize(
    ("grid", "num_masked", "mask_per"),
    [(4, 4, "batch"), (4, 4, "image"), (2, 3, "image"), (3, 2, "batch")],
)
def test_the_loss_is_that_of_a_loop_over_images_and_patches(
    grid: int, num_masked: int, mask_per: str
) -> None:
    selfie = task(grid=grid, num_masked=num_masked, mask_per=mask_per)
    images = torch.rand(3, 3, 4 * grid, 4 * grid, dtype=torch.float64)
    inputs, targets = selfie.draw(images)
    assert torch.equal(inputs, images)
    with torch.no_grad():
        loss, accuracy = by_hand(selfie, images, targets)
        found = selfie.loss(inputs, targets)
        logits = selfie.logits(inputs, targets)
    assert logits.shape == (3, num_masked, num_masked)
    assert found.item() == pytest.approx(loss.item(), rel=1e-6)
    assert selfie.accuracy(logits, targets).item() == pytest.approx(accuracy.item())


def test_the_scale_of_the_logits() -> None:
    scaled, plain = task(), task(logit_scale=1.0)
    plain.load_state_dict(scaled.state_dict())
    assert scaled.logit_scale == 8**-0.5
    inputs, targets = scaled.draw(torch.rand(2, 3, 16, 16, dtype=torch.float64))
    torch.testing.assert_close(
        plain.logits(inputs, targets), scaled.logits(inputs, targets) * 8**0.5
    )


def test_masks_of_a_batch_and_of_each_image() -> None:
    images = torch.rand(64, 3, 16, 16)
    orders = task().draw(images)[1]
    assert orders.shape == (64, 16)
    assert bool((orders == orders[0]).all())
    orders = task(mask_per="image").draw(images)[1]
    assert len(set(map(tuple, orders.tolist()))) == 64
    assert torch.equal(orders.sort(dim=1).values, torch.arange(16).expand(64, -1))


def test_every_place_is_hidden_equally_often() -> None:
    generator = Generator().manual_seed(0)
    selfie = task(mask_per="image")
    hidden = selfie.draw(torch.zeros(8000, 1, 1, 1), generator)[1][:, :4]
    counts = hidden.flatten().bincount(minlength=16)
    # Hidden places of one image differ, so this is below chi-square with 15 degrees.
    assert (counts - 2000).square().sum() / 2000 < 37.7


def test_questions_come_from_the_generator() -> None:
    selfie, images = task(), torch.rand(4, 3, 16, 16)
    before = torch.get_rng_state()
    first, again, other = (
        selfie.draw(images, Generator().manual_seed(seed))[1] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["resnet18_small", "resnetv2_18_small"])
def test_patch_network_is_the_first_three_stages(name: str) -> None:
    selfie = SelfieTask(name, depth=1, normalize=None).eval()
    assert selfie.level == FeatureLevel(3, 256)
    images = torch.rand(2, 3, 32, 32)
    features = selfie(images)
    assert features.shape == (2, 16, 256)
    patch = images[1:, :, 8:16, 24:]
    expected = level_features(selfie.backbone, patch, selfie.level)[0]
    torch.testing.assert_close(features[1, 7], expected)
    selfie.loss(*selfie.draw(images)).backward()  # type: ignore[no-untyped-call]
    untouched = {n for n, p in selfie.backbone.named_parameters() if p.grad is None}
    last = ("layer4.", "stages.3.", "norm.")
    assert untouched
    assert all(each.startswith(last) for each in untouched)


def test_positions_start_as_in_the_paper() -> None:
    selfie = SelfieTask(tiny(8, dim=512), stages=None, depth=1)
    assert torch.equal(selfie.columns, torch.zeros(4, 512))
    assert selfie.rows.mean().abs() < 0.1
    assert selfie.rows.std().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(selfie.pooling.token, torch.zeros(1, 1, 512))


def test_nothing_is_moved() -> None:
    selfie, images = task(), torch.rand(2, 3, 16, 16)
    inputs, targets = selfie.draw(images)
    assert torch.equal(selfie.restore(inputs, targets), images)


def test_first_and_second_derivatives() -> None:
    selfie = SelfieTask(tiny(2, dim=4), grid=2, num_masked=2, stages=None, depth=1)
    selfie = selfie.double().eval()
    inputs, targets = selfie.draw(torch.rand(1, 3, 4, 4, dtype=torch.float64))
    inputs.requires_grad_()
    assert torch.autograd.gradcheck(selfie.loss, (inputs, targets))
    assert torch.autograd.gradgradcheck(selfie.loss, (inputs, targets))


def test_it_learns() -> None:
    torch.manual_seed(0)
    # A patch tells its place by its brightness.
    places = torch.linspace(0, 1, 4).repeat_interleave(2)
    images = (places[:, None] + places / 4).expand(16, 3, 8, 8) / 1.25
    selfie = SelfieTask(tiny(2, dim=16), stages=None, depth=1, mask_per="image")
    optimizer = torch.optim.Adam(selfie.parameters(), lr=0.01)
    for _ in range(80):
        loss = selfie.loss(*selfie.draw(images))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    inputs, targets = selfie.eval().draw(images)
    assert (
        selfie.accuracy(selfie.logits(inputs, targets), targets).item() > 50
    )  # chance is 25


def test_a_grid_that_does_not_divide_the_image_is_refused() -> None:
    selfie = task(grid=3)
    inputs, targets = selfie.draw(torch.rand(2, 3, 16, 16, dtype=torch.float64))
    with pytest.raises(ValueError, match="grid=3 does not divide images of 16 x 16"):
        selfie.loss(inputs, targets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_masked": 1}, r"num_masked=1 of 4 x 4 patches; expected at least 2"),
        ({"num_masked": 16}, r"num_masked=16 of 4 x 4 patches.*fewer than all"),
        ({"mask_per": "patch"}, r"mask_per='patch' is unknown; use one of"),
        ({"stages": 3}, r"Sequential does not tell its stages.*stages=None"),
        ({"depth": 0}, r"depth=0 layers"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)


def test_a_backbone_without_the_named_stage_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stages=4, .* has 3; choose 1 to 3"):
        SelfieTask("resnet8_tiny", stages=4)
