from __future__ import annotations

import pytest
import torch

from lightly_adv.pretext import tiles


def by_hand(images: torch.Tensor, orders: torch.Tensor, grid: int) -> torch.Tensor:
    """Shuffle one image after the other, one tile after the other."""
    found = torch.empty_like(images)
    height, width = (side // grid for side in images.shape[-2:])
    for index, order in enumerate(orders.tolist()):
        for place, tile in enumerate(order):
            top, left = (place // grid) * height, (place % grid) * width
            source_top, source_left = (tile // grid) * height, (tile % grid) * width
            found[index, :, top : top + height, left : left + width] = images[
                index,
                :,
                source_top : source_top + height,
                source_left : source_left + width,
            ]
    return found


@pytest.mark.parametrize(("grid", "size"), [(1, (4, 4)), (2, (4, 6)), (4, (8, 8))])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8])
def test_every_tile_goes_where_a_loop_puts_it(
    grid: int, size: tuple[int, int], dtype: torch.dtype
) -> None:
    images = (torch.rand(5, 3, *size) * 255).to(dtype)
    orders = torch.rand(5, grid**2).argsort(dim=1)
    found = tiles.permute_tiles(images, orders, grid)
    assert found.dtype == dtype
    assert torch.equal(found, by_hand(images, orders, grid))


@pytest.mark.parametrize("grid", [1, 2, 3, 6])
def test_splitting_goes_row_by_row_and_joining_undoes_it(grid: int) -> None:
    images = torch.rand(2, 3, 6, 12)
    cut = tiles.split_tiles(images, grid)
    height, width = 6 // grid, 12 // grid
    assert cut.shape == (2, grid**2, 3, height, width)
    for place in range(grid**2):
        top, left = (place // grid) * height, (place % grid) * width
        piece = images[:, :, top : top + height, left : left + width]
        assert torch.equal(cut[:, place], piece)
    assert torch.equal(tiles.join_tiles(cut, grid), images)


def test_inverse_orders_undo() -> None:
    images, orders = torch.rand(6, 3, 8, 8), torch.rand(6, 16).argsort(dim=1)
    shuffled = tiles.permute_tiles(images, orders, 4)
    inverse = tiles.inverse_orders(orders)
    assert torch.equal(tiles.permute_tiles(shuffled, inverse, 4), images)
    assert torch.equal(tiles.inverse_orders(inverse), orders)
    assert not torch.equal(shuffled, images)


def test_the_memory_format_of_the_images_does_not_matter() -> None:
    images, orders = torch.rand(2, 3, 8, 8), torch.rand(2, 4).argsort(dim=1)
    last = images.contiguous(memory_format=torch.channels_last)
    expected = tiles.permute_tiles(images, orders, 2)
    assert torch.equal(tiles.permute_tiles(last, orders, 2), expected)


def test_places_may_be_some_and_repeat() -> None:
    vectors = torch.arange(24.0).view(2, 4, 3)
    places = torch.tensor([[3, 0, 3], [1, 2, 0]])
    found = tiles.take_tiles(vectors, places)
    rows = [[vectors[b, p] for p in row] for b, row in enumerate(places.tolist())]
    assert torch.equal(found, torch.stack([torch.stack(row) for row in rows]))


def test_first_and_second_derivatives() -> None:
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    orders = torch.rand(2, 4).argsort(dim=1)

    def cubed(images: torch.Tensor) -> torch.Tensor:
        return tiles.permute_tiles(images, orders, 2) ** 3

    assert torch.autograd.gradcheck(cubed, images)
    assert torch.autograd.gradgradcheck(cubed, images)


@pytest.mark.parametrize("grid", [0, -1, 3, 16])
def test_a_grid_that_does_not_divide_the_image_is_refused(grid: int) -> None:
    orders = torch.zeros(1, max(grid, 0) ** 2, dtype=torch.long)
    message = rf"grid={grid} does not divide images of 8 x 4; choose a divisor"
    with pytest.raises(ValueError, match=message):
        tiles.permute_tiles(torch.rand(1, 3, 8, 4), orders, grid)


@pytest.mark.parametrize("shape", [(4,), (2, 16), (3, 4)])
def test_orders_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    orders = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=r"expected one order of 2 x 2 tiles"):
        tiles.permute_tiles(torch.rand(2, 3, 8, 8), orders, 2)
