"""Antialiased resized crops and affine maps of whole batches, with a separate draw for each item.

A resized crop is separable. It is two small matrix products per image, out = R x C^T, where row i of R contains the
weights of the triangle filter at output row i (Pillow's bilinear resize, up to rounding). A flip reverses C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from salience.views.random import Keys

_TRIES = 10  # as torchvision


@dataclass(frozen=True)
class Boxes:
    """One crop per image, in pixels.  Each field: [n] float32 (whole numbers)"""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def random_boxes(keys: Keys, size: int, *, area: tuple[float, float], ratio: tuple[float, float]) -> Boxes:
    """Draw boxes in square images of this size as torchvision's RandomResizedCrop does.

    Area and log(width / height) are uniform; the first of ten draws that fits is used, otherwise the whole image.
    """
    drawn = keys.fold("box").uniform(2 * _TRIES + 2)
    share = _within(drawn[:, :_TRIES], area)  # [n tries]
    aspect = _within(drawn[:, _TRIES:-2], (math.log(ratio[0]), math.log(ratio[1]))).exp()
    width = torch.round(size * (share * aspect).sqrt())
    height = torch.round(size * (share / aspect).sqrt())
    fits = (width >= 1) & (width <= size) & (height >= 1) & (height <= size)
    order = torch.arange(_TRIES, device=width.device)
    first = torch.where(fits, order, _TRIES).amin(1, keepdim=True)  # [n 1], _TRIES where none fits
    whole = torch.full_like(width[:, :1], float(size))
    width = torch.cat([width, whole], 1).gather(1, first)[:, 0]
    height = torch.cat([height, whole], 1).gather(1, first)[:, 0]
    top = torch.floor(drawn[:, -2] * (size - height + 1))
    left = torch.floor(drawn[:, -1] * (size - width + 1))
    return Boxes(top, left, height, width)


def _within(uniform: Tensor, ends: tuple[float, float]) -> Tensor:
    return uniform * (ends[1] - ends[0]) + ends[0]


def box_matrix(boxes: Boxes, size: int) -> Tensor:
    """Return the map of a resized crop from output to input, in coordinates [-1, 1].  [n 2 3]"""
    zero = torch.zeros_like(boxes.width)
    across = (2 * boxes.left + boxes.width) / size - 1
    down = (2 * boxes.top + boxes.height) / size - 1
    first = torch.stack([boxes.width / size, zero, across], dim=1)
    second = torch.stack([zero, boxes.height / size, down], dim=1)
    return torch.stack([first, second], dim=1)


def compose_affine(first: Tensor, second: Tensor) -> Tensor:
    """Compose two affine maps, x -> second(first(x)).  [n 2 3], [n 2 3] -> [n 2 3]"""
    linear = second[:, :, :2]
    return torch.cat([linear @ first[:, :, :2], linear @ first[:, :, 2:] + second[:, :, 2:]], dim=2)


def triangle_weights(start: Tensor, length: Tensor, size: int, out: int) -> Tensor:
    """Return the weights that resize [start, start + length) of `size` pixels to `out`.  [n], [n] -> [n out size]

    Rows sum to 1. The filter is one input pixel wide when enlarging, one output pixel wide when shrinking, and covers
    only the crop.
    """
    pixel = torch.arange(size, device=start.device, dtype=torch.float32)
    row = torch.arange(out, device=start.device, dtype=torch.float32)
    at = 2 * (pixel - start[:, None]) + 1  # [n size] twice the place in the crop; whole numbers, so nothing is rounded
    centre = (2 * row + 1) * length[:, None]  # [n out] twice the place, times `out`
    distance = (at[:, None] * out - centre[:, :, None]).abs()
    weights = (1 - distance / (2 * length.clamp(min=out))[:, None, None]).clamp(min=0)
    weights = weights * ((at > 0) & (at < 2 * length[:, None]))[:, None]
    return weights / weights.sum(-1, keepdim=True)


def resized_crop(x: Tensor, boxes: Boxes, flip: Tensor | None = None, side: int | None = None) -> Tensor:
    """Resize each box to `side` pixels, or the full size.  x: [n c h w], flip: [n] bool, left to right -> [n c s s]"""
    n, c, h, w = x.shape
    side = side or h
    rows = triangle_weights(boxes.top, boxes.height, h, side)
    columns = triangle_weights(boxes.left, boxes.width, w, side)
    if flip is not None:
        columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    wide = torch.bmm(x.reshape(n, c * h, w), columns.transpose(1, 2)).reshape(n, c, h, side)
    return torch.matmul(rows[:, None], wide)


def affine(x: Tensor, matrix: Tensor) -> Tensor:
    """Sample each image through an affine map of coordinates in [-1, 1].  x: [n c h w], matrix: [n 2 3] -> [n c h w]

    `matrix` takes output to input positions. Where the map shrinks the image by s, down either axis of the output, four
    bilinear samples are spread so that together they see as far as Pillow's filter: its variance is s^2 / 6, that of
    one sample 1 / 6. Elsewhere the four coincide. Outside is the background: the median of the image's border.
    """
    background = border_median(x)
    n, _, h, w = x.shape
    grid = F.affine_grid(matrix, [n, 1, h, w], align_corners=False)  # [n h w 2]
    offsets = _spread(matrix, h, w)  # [n 4 2]
    grid = (grid[:, None] + offsets[:, :, None, None]).reshape(n, 4 * h, w, 2)
    taken = F.grid_sample(x - background, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return taken.reshape(n, -1, 4, h, w).mean(2) + background


def _spread(matrix: Tensor, h: int, w: int) -> Tensor:
    """Return the offsets of the four samples of an output pixel in input coordinates, [n 4 2]; 0 without shrinking."""
    linear = matrix[:, :, :2]
    shrink = linear.norm(dim=1, keepdim=True)  # [n 1 2]: input pixels stepped over by one output pixel, down each axis
    reach = ((1 - shrink**-2).clamp(min=0) / 6).sqrt()  # in output pixels
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], device=matrix.device)
    pixel = torch.tensor([2.0 / w, 2.0 / h], device=matrix.device)
    return torch.matmul(corners * pixel * reach, linear.transpose(1, 2))


def border_median(x: Tensor) -> Tensor:
    """Return the median of the border pixels of each channel.  [n c h w] -> [n c 1 1]"""
    edge = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, 1:-1, 0], x[:, :, 1:-1, -1]], dim=2)
    return edge.median(dim=2).values[:, :, None, None]


def random_affine(keys: Keys, *, degrees: float, shear: float, scale: tuple[float, float], shift: float) -> Tensor:
    """Maps from output to input positions, [n 2 3]: rotation, shear, anisotropic scale, shift.

    degrees: rotation within +-; shear: tangent within +-; scale: of each axis, log-uniform, above 1 enlarges;
    shift: within +- this share of the side
    """
    drawn = keys.fold("affine").between(-1, 1, 6)  # [n 6]
    turn, slant = drawn[:, 0] * math.radians(degrees), drawn[:, 1] * shear
    size = _within(drawn[:, 2:4] / 2 + 0.5, (math.log(scale[0]), math.log(scale[1]))).exp()
    move = drawn[:, 4:] * (2 * shift)  # coordinates span 2
    cos, sin = turn.cos(), turn.sin()
    sx, sy = 1 / size[:, 0], 1 / size[:, 1]
    first = torch.stack([cos * sx, (cos * slant - sin) * sy, move[:, 0]], dim=1)
    second = torch.stack([sin * sx, (sin * slant + cos) * sy, move[:, 1]], dim=1)
    return torch.stack([first, second], dim=1)
