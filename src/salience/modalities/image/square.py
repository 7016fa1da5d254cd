"""Images of any shape made square, as a run's `aspect` says: cropped, padded or stretched; pictures and arrays alike.

crop: the largest square in the centre is brought to the wanted side: the field of view of torchvision's Resize and
    CenterCrop
pad: the longer side is brought to the wanted side; the rest gets the median of the image's border, as in `affine`
stretch: height and width are brought to the wanted side, each by itself
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from salience.modalities.image.transforms import border_median
from salience.reading import Aspect


def central_square(width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side of the largest square in the centre."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def square_picture(picture: Image.Image, side: int, aspect: Aspect) -> Image.Image:
    """A picture of mode L, RGB or F, as [side side]. A square picture is the same under every aspect."""
    width, height = picture.size
    if aspect == "pad" and width != height:
        return _padded_picture(picture, side)
    if aspect == "crop" and width != height:
        left, top, length = central_square(width, height)
        picture = picture.crop((left, top, left + length, top + length))  # first, so that arrays come out the same
    return picture if picture.size == (side, side) else picture.resize((side, side), Image.Resampling.BILINEAR)


def square_arrays(images: np.ndarray, side: int, aspect: Aspect) -> np.ndarray:
    """[n c h w] -> [n c side side] of the same type. Square images are the same under every aspect."""
    height, width = images.shape[2:]
    if aspect == "stretch" or width == height:
        return resize(images, (side, side))
    if aspect == "pad":
        return _padded_arrays(images, side)
    left, top, length = central_square(width, height)
    return resize(images[:, :, top : top + length, left : left + length], (side, side))


def resize(images: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """[n c h w] -> [n c *size] of the same type: antialiased bilinear, not keeping the aspect."""
    if images.shape[-2:] == size:
        return images
    values = torch.from_numpy(images.astype(np.float32))
    resized = F.interpolate(values, list(size), mode="bilinear", antialias=True, align_corners=False).numpy()
    return to_type(resized, images.dtype)


def to_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Rounded and clipped to the range of an integer type."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    return values.round().clip(0, np.iinfo(dtype).max).astype(dtype)


def describe_squaring(sizes: np.ndarray, side: int, aspect: Aspect) -> tuple[str, ...]:
    """What is done to images of these sizes, and how to say otherwise; empty where nothing is.

    sizes: [n 2] or [1 2] widths and heights
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
    """Width and height, the longer one brought to `side`."""
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
