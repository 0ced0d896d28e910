"""Images as grids of tiles: cut, put together, and shuffled, a batch at once."""

from __future__ import annotations

import torch
from torch import Tensor


def split_tiles(images: Tensor, grid: int) -> Tensor:
    """Cut each image into `grid * grid` tiles, row by row.

    Args:
        images: Images of shape (B, C, H, W).
        grid: Number of tiles along each side.

    Returns:
        Tiles of shape (B, grid * grid, C, H / grid, W / grid).

    Raises:
        ValueError: If `grid` does not divide the image.

    Examples:
        >>> split_tiles(torch.arange(4).view(1, 1, 2, 2), grid=2).flatten().tolist()
        [0, 1, 2, 3]
    """
    _check(images, grid)
    batch, channels, height, width = images.shape
    cut = images.reshape(batch, channels, grid, height // grid, grid, width // grid)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def join_tiles(tiles: Tensor, grid: int) -> Tensor:
    """Put tiles together to images; the inverse of `split_tiles`.

    Args:
        tiles: Tensor of shape (B, grid * grid, C, h, w).
        grid: Number of tiles along each side.

    Returns:
        Images of shape (B, C, grid * h, grid * w).

    Examples:
        >>> images = torch.rand(2, 3, 8, 8)
        >>> bool((join_tiles(split_tiles(images, 4), 4) == images).all())
        True
    """
    batch, _, channels, height, width = tiles.shape
    cut = tiles.reshape(batch, grid, grid, channels, height, width)
    size = (batch, channels, grid * height, grid * width)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(size)


def permute_tiles(images: Tensor, orders: Tensor, grid: int) -> Tensor:
    """Shuffle the tiles of each image.

    Differentiable with respect to the images, and without a loop over them.

    Args:
        images: Images of shape (B, C, H, W).
        orders: Integers of shape (B, grid * grid). Place k of the result holds tile
            `orders[:, k]`.
        grid: Number of tiles along each side.

    Returns:
        Tensor of the shape of `images`.

    Raises:
        ValueError: If `grid` does not divide the image, or if `orders` has another
            shape.

    Examples:
        >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
        >>> permute_tiles(image, torch.tensor([[3, 2, 1, 0]]), grid=2)
        tensor([[[[4, 3],
                  [2, 1]]]])
    """
    tiles = split_tiles(images, grid)
    if orders.shape != tiles.shape[:2]:
        raise ValueError(
            f"orders have the shape {tuple(orders.shape)}; expected one order of "
            f"{grid} x {grid} tiles for each image, {tuple(tiles.shape[:2])}."
        )
    return join_tiles(take_tiles(tiles, orders), grid)


def take_tiles(tiles: Tensor, places: Tensor) -> Tensor:
    """Take tiles, or what a network made of them, from places along dim 1.

    Args:
        tiles: Tensor of shape (B, N, ...).
        places: Integers of shape (B, M), each from 0 to N - 1.

    Returns:
        Tensor of shape (B, M, ...).
    """
    rows = torch.arange(len(tiles), device=tiles.device)
    return tiles[rows[:, None], places]


def inverse_orders(orders: Tensor) -> Tensor:
    """Return the orders that undo `orders`, of the same shape (..., N).

    Examples:
        >>> inverse_orders(torch.tensor([1, 2, 0]))
        tensor([2, 0, 1])
    """
    return orders.argsort(dim=-1)


def _check(images: Tensor, grid: int) -> None:
    if grid < 1 or any(side % grid for side in images.shape[-2:]):
        height, width = images.shape[-2:]
        raise ValueError(
            f"grid={grid} does not divide images of {height} x {width}; choose a "
            "divisor of both sides, or resize or crop the images."
        )
