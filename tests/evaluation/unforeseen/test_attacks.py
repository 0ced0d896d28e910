"""All ten attacks, through one table; and what they are built from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.fft import dctn
from torch import Tensor, nn

from lightly_adv.evaluation.unforeseen import (
    PUBLISHED,
    attack_images,
    create_unforeseen_attack,
    jpeg,
    list_unforeseen_attacks,
    snow,
)
from lightly_adv.evaluation.unforeseen.parametrization import FrankWolfe

NAMES = list(PUBLISHED)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample_images(count: int = 4, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(count, 3, height, width, generator=generator(1))


def classifier() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 5))
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("name", NAMES)
def test_attacks_lead_to_the_target_and_stay_in_range(name: str) -> None:
    model, images, targets = classifier(), sample_images(), torch.arange(4)
    attack = create_unforeseen_attack(name)

    def run(steps: int) -> Tensor:
        return attack_images(
            model,
            images,
            targets,
            attack,
            eps=attack.eps[-2],
            steps=steps,
            generator=generator(),
        )

    start, found = run(0), run(20)
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
    before, after = (F.cross_entropy(model(x), targets) for x in (start, found))
    assert after < before
    assert torch.equal(found, run(20))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_parameters_of_every_image(name: str) -> None:
    attack = create_unforeseen_attack(name)
    made = attack.parametrize(sample_images(), attack.eps[2], generator())
    z = made.start.detach().requires_grad_()
    weights = torch.randn(4, 3, 32, 32, generator=generator(2))
    (grad,) = torch.autograd.grad((weights * made.render(z)).sum(), z)
    assert (grad.flatten(1) != 0).any(dim=1).all()
    assert grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_no_strength_changes_nothing(name: str) -> None:
    images = sample_images()
    made = create_unforeseen_attack(name).parametrize(images, 0.0, generator())
    found = made.render(made.start)
    if name.startswith("jpeg"):
        plain = jpeg.decode(jpeg.encode(images), height=32, width=32)
        assert torch.equal(found, plain)
    elif name == "elastic":  # coordinates are rounded
        torch.testing.assert_close(found, images, atol=1e-5, rtol=0)
    else:
        assert torch.equal(found, images)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("jpeg")])
@pytest.mark.parametrize("size", [(24, 40), (7, 7)])
def test_any_size_will_do(name: str, size: tuple[int, int]) -> None:
    images = sample_images(2, *size)
    attack = create_unforeseen_attack(name)
    made = attack.parametrize(images, attack.eps[0], generator())
    assert made.render(made.start).shape == images.shape


def test_jpeg_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match=r"24 x 40; .* multiples of 16"):
        jpeg.linf(sample_images(1, 24, 40), 0.1, generator())


def test_vertices_are_those_of_a_greedy_loop() -> None:
    images, grad = sample_images(3), torch.randn(3, 3, 32, 32, generator=generator(5))
    found = FrankWolfe(20.0, -images, 1 - images).vertex(grad)
    for image, slope, vertex in zip(images, grad, found, strict=True):
        x, g = image.flatten().double(), slope.flatten()
        expected, left = torch.zeros_like(x), 20.0
        for at in g.abs().argsort(descending=True).tolist():
            box = float(1 - x[at] if g[at] > 0 else x[at])
            expected[at] = min(box, left) * float(g[at].sign())
            left -= min(box, left)
        torch.testing.assert_close(
            vertex.flatten().double(), expected, atol=1e-4, rtol=0
        )


def test_frank_wolfe_stays_in_the_ball() -> None:
    images, eps = sample_images(), create_unforeseen_attack("l1").eps[3]
    found = attack_images(
        classifier(),
        images,
        torch.arange(4),
        create_unforeseen_attack("l1"),
        eps=eps,
        steps=10,
        generator=generator(),
    )
    assert ((found - images).abs().flatten(1).sum(dim=1) <= eps + 1e-3).all()


def test_coefficients_are_those_of_scipy() -> None:
    grey = torch.rand(1, 1, 16, 16, generator=generator()).expand(1, 3, 16, 16)
    coefficients = jpeg.encode(grey)[0, :256].view(2, 2, 8, 8).numpy()
    luma = 255 * grey[0, 0].numpy() - 128
    for row, column in np.ndindex(2, 2):
        block = luma[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        expected = dctn(block, norm="ortho") / np.array(jpeg.LUMA_TABLE)
        np.testing.assert_allclose(coefficients[row, column], expected, atol=1e-3)


def test_images_with_smooth_colours_survive_the_codec() -> None:
    images = F.interpolate(sample_images(2, 8, 8), scale_factor=4.0)
    found = jpeg.decode(jpeg.encode(images), height=32, width=32)
    torch.testing.assert_close(found, images, atol=1e-4, rtol=0)


def test_they_are_listed() -> None:
    assert set(PUBLISHED) <= set(list_unforeseen_attacks())


def test_flakes_start_above_zero_and_stay_there_once_they_are_out() -> None:
    images, weights = sample_images(), torch.randn(4, 3, 32, 32, generator=generator(2))
    made = create_unforeseen_attack("snow").parametrize(images, 0.5, generator())
    assert made.start.min() > 0
    assert (made.start.mean(dim=(2, 3)) <= snow.BUDGET + 1e-6).all()
    z = made.start.clone()
    z[:, 0] = 0
    z.requires_grad_()
    (grad,) = torch.autograd.grad((weights * made.render(z)).sum(), z)
    assert (grad[:, 0] == 0).all()
    assert (grad[:, 1:] != 0).float().mean() > 0.9
