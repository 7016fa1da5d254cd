"""Conversion of images to squares by the option `aspect`, for PIL images and arrays.

crop: resize the largest central square, as torchvision's Resize and CenterCrop do
pad: resize the longer side, and fill the rest with the median of the border of the image, as in `affine`
stretch: resize height and width independently
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from salience.modalities.image.transforms import border_median
from salience.reading import Aspect


def central_square(width: int, height: int) -> tuple[int, int, int]:
    """Return left, top and side of the largest central square."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def square_picture(picture: Image.Image, side: int, aspect: Aspect) -> Image.Image:
    """Convert a PIL image of mode L, RGB or F to [side side]. The aspect does not matter for a square image."""
    width, height = picture.size
    if aspect == "pad" and width != height:
        return _padded_picture(picture, side)
    if aspect == "crop" and width != height:
        left, top, length = central_square(width, height)
        picture = picture.crop((left, top, left + length, top + length))  # before resizing, as for arrays
    return picture if picture.size == (side, side) else picture.resize((side, side), Image.Resampling.BILINEAR)


def square_arrays(images: np.ndarray, side: int, aspect: Aspect) -> np.ndarray:
    """Convert [n c h w] to [n c side side] of the same type. The aspect does not matter for square images."""
    height, width = images.shape[2:]
    if aspect == "stretch" or width == height:
        return resize(images, (side, side))
    if aspect == "pad":
        return _padded_arrays(images, side)
    left, top, length = central_square(width, height)
    return resize(images[:, :, top : top + length, left : left + length], (side, side))


def resize(images: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize [n c h w] to [n c *size] of the same type, antialiased bilinear, without keeping the aspect."""
    if images.shape[-2:] == size:
        return images
    values = torch.from_numpy(images.astype(np.float32))
    resized = F.interpolate(values, list(size), mode="bilinear", antialias=True, align_corners=False).numpy()
    return to_type(resized, images.dtype)


def to_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert values to a type; for an integer type, round and clip them to its range."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    return values.round().clip(0, np.iinfo(dtype).max).astype(dtype)


def describe_squaring(sizes: np.ndarray, side: int, aspect: Aspect) -> tuple[str, ...]:
    """Describe how images are resized, and how to change it; empty if they are not.

    Args:
        sizes: [n 2] or [1 2] widths and heights.
        side: Side of the stored images, in pixels.
        aspect: Treatment of images that are not square.
    """
    if (sizes == side).all():
        return ()
    width, height = (int(length) for length in np.median(sizes, axis=0))
    found = f"{'all are' if (sizes == sizes[0]).all() else 'median size'} {width}x{height}"
    made = f"resized to {side}x{side}"
    if (sizes[:, 0] == sizes[:, 1]).all():
        return (f"{made}: {found}",)
    if aspect == "pad":
        return (
            f"{made}: the longer side to {side}, the rest padded with the median of each image's border ({found}); "
            "use --aspect crop to fill the square",
        )
    if aspect == "stretch":
        return (f"{made}: stretched, so shapes change ({found}); use --aspect crop or pad to keep them",)
    kept = float((sizes.min(1) / sizes.max(1)).mean())
    return (
        f"{made}: the shorter side to {side}, the centre cropped ({found}; {kept:.0%} of an image is kept); "
        "use --aspect pad to keep all of it",
    )


def _inner(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height with the longer one scaled to `side`."""
    longest = max(width, height)
    return max(1, round(width * side / longest)), max(1, round(height * side / longest))


def _padded_picture(picture: Image.Image, side: int) -> Image.Image:
    width, height = _inner(*picture.size, side)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    values = np.array(picture, dtype=np.float32).reshape(height, width, -1)
    border = border_median(torch.from_numpy(values).permute(2, 0, 1)[None])[0, :, 0, 0].tolist()
    fill = border[0] if picture.mode == "F" else tuple(map(round, border))
    whole = Image.new(picture.mode, (side, side), fill)
    whole.paste(picture, ((side - width) // 2, (side - height) // 2))
    return whole


def _padded_arrays(images: np.ndarray, side: int) -> np.ndarray:
    width, height = _inner(images.shape[3], images.shape[2], side)
    images = resize(images, (height, width))
    border = border_median(torch.from_numpy(images.astype(np.float32))).numpy()  # a value of the image: no rounding
    whole = np.empty((*images.shape[:2], side, side), images.dtype)
    whole[:] = border.astype(images.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    whole[:, :, top : top + height, left : left + width] = images
    return whole
