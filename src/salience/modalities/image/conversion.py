"""Conversion of images of any size and type to [n c h w], square and of one type, and to thumbnails.

The unit scale is (x - spec.low) / (spec.high - spec.low); spec.mean and spec.std refer to it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from salience.errors import UserError
from salience.fields.moments import Moments
from salience.modalities import Items
from salience.modalities.image.decode import Target
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.square import describe_squaring, square_arrays, to_type
from salience.reading import Aspect
from salience.units import counted

RESOLUTIONS = (32, 64, 96, 128, 224)
LUMA = (0.299, 0.587, 0.114)
FULL_SCALE = {"uint8": 255, "uint16": 65535}
UNIT_SLACK = 1.0  # tolerance beyond [0, 1] for interpolation and noise; floats up to 255 exceed it
MAX_CHANNELS = 16


def thumbnail(dataset: Items, row: int) -> Image.Image:
    """Convert the stored image of one row to an 8-bit PIL image, with at most its first three channels."""
    spec = dataset.spec
    unit = (dataset.item(row).astype(np.float64) - spec.low) / (spec.high - spec.low)
    pixels = (unit.clip(0, 1) * 255).round().astype(np.uint8)
    if len(pixels) < 3:
        return Image.fromarray(pixels[0])
    return Image.fromarray(np.ascontiguousarray(pixels[:3].transpose(1, 2, 0)))


def choose_target(headers: np.ndarray, resolution: int | None, aspect: Aspect) -> tuple[Target, tuple[str, ...]]:
    """Choose the format that files are decoded to.

    Args:
        headers: [n 4 or more] int: width, height, colour, deep of every readable file.
        resolution: Height and width in pixels; None chooses them.
        aspect: Treatment of images that are not square.

    Returns:
        The format, and notes.
    """
    colour, deep = headers[:, 2].any(), headers[:, 3].all()
    side, notes = choose_resolution(headers[:, :2], resolution, aspect)
    if colour and not headers[:, 2].all():
        grey = int((headers[:, 2] == 0).sum())
        kept = "is" if grey == 1 else "are"
        notes += (f"{counted(grey, 'grey image')} among colour images {kept} stored as RGB",)
    if headers[:, 3].any() and not deep:
        notes += ("some images have 16 bits, others 8: all are stored with 8",)
    return Target(3 if colour else 1, side, bool(deep), aspect), notes


def choose_resolution(sizes: np.ndarray, resolution: int | None, aspect: Aspect) -> tuple[int, tuple[str, ...]]:
    """Choose the height and width to store. Return them and notes.  sizes: [n 2] or [1 2] widths and heights"""
    side = resolution or _side_for(sizes, aspect)
    return side, describe_squaring(sizes, side, aspect)


def _side_for(sizes: np.ndarray, aspect: Aspect) -> int:
    """Choose the side from the length that fills the square: the shorter side for crop, the longer one for pad."""
    same = bool((sizes == sizes[0]).all())
    if aspect == "stretch":
        width, height = np.median(sizes, axis=0)
        shortest, whole = int(min(width, height)), int(max(width, height))
    else:
        shortest = whole = int(np.median(sizes.min(1) if aspect == "crop" else sizes.max(1)))
    if same and whole <= RESOLUTIONS[-1]:
        return whole
    return max([r for r in RESOLUTIONS if r <= shortest], default=RESOLUTIONS[0])


def describe_conversion(sizes: np.ndarray, channels: np.ndarray, want: ImageSpec, aspect: Aspect) -> tuple[str, ...]:
    """Describe how images are converted to the spec of a run.  sizes: [n 2] widths and heights;  channels: [n]"""
    return describe_squaring(sizes, want.resolution, aspect) + describe_channels(channels, want)


def describe_channels(channels: np.ndarray, want: ImageSpec) -> tuple[str, ...]:
    """Describe how the channels [n] of images are converted to the spec of a run."""
    other = channels != want.channels
    if want.channels not in (1, 3) or not other.any():
        return ()
    what = "all" if other.all() else counted(int(other.sum()), "image")
    return (f"{what} converted to {'grey' if want.channels == 1 else 'RGB'}, as in training",)


def as_images(array: np.ndarray) -> np.ndarray:
    """Return a view [n c h w] of an array [n h w], [n c h w] or [n h w c]. Raises UserError for other shapes."""
    if array.ndim == 3:
        return array[:, None]
    _, a, b, c = array.shape
    first, last = a <= MAX_CHANNELS and a <= min(b, c), c <= MAX_CHANNELS and c <= min(a, b)
    if first and last:
        last = c in (1, 3) and a not in (1, 3)
        first = not last
    if not first and not last:
        raise UserError(
            f"source: expected images, got an array of shape {array.shape}; give [n h w], [n c h w] or [n h w c] "
            f"with at most {MAX_CHANNELS} channels, or [n columns] for a table"
        )
    return array if first else array.transpose(0, 3, 1, 2)


def stored_dtype(images: np.ndarray) -> np.dtype:
    """Return the stored type of an array of images: uint8 or uint16 if its integers fit, otherwise float32."""
    if images.dtype in (np.uint8, np.uint16, np.float32):
        return images.dtype.newbyteorder("=")
    if images.dtype == bool:
        return np.dtype(np.uint8)
    if images.dtype.kind in "iu" and images.size:
        low, high = images.min(), images.max()
        fits = [t for t in (np.uint8, np.uint16) if low >= 0 and high <= np.iinfo(t).max]
        return np.dtype(fits[0] if fits else np.float32)
    return np.dtype(np.float32)


def as_stored(block: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert values to another type; False and True become 0 and 255."""
    if block.dtype == bool:
        return block.astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(block, dtype=dtype)


def scale_of(dtype: str, moments: Moments, *, full: bool) -> tuple[float, float]:
    """Return the stored values of 0 and 1. With `full`, integers span their type, as in files; otherwise inferred."""
    low, high = float(moments.low.min()), float(moments.high.max())
    if dtype in FULL_SCALE:
        # digits stored as 0..16 in uint8, or 12-bit scans in uint16, would be nearly black on the full scale
        dim = not full and 0 < high < FULL_SCALE[dtype] / 2
        return 0.0, high if dim else float(FULL_SCALE[dtype])
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and 127.5 < high <= 255:
        return 0.0, 255.0
    return low, high if high > low else low + 1.0


def make_spec(
    shape: tuple[int, ...],
    dtype: str,
    moments: Moments,
    *,
    full_scale: bool = False,
    views: str | None = None,
    ground: str = "white",
) -> ImageSpec:
    """Make the spec of stored images from the statistics `moments`."""
    low, high = scale_of(dtype, moments, full=full_scale)
    mean = tuple(map(float, (moments.mean - low) / (high - low)))
    std = tuple(map(float, np.where(moments.varies, moments.std / (high - low), 1.0)))
    return ImageSpec(tuple(shape), dtype, low, high, mean, std, views=views, ground=ground)


def read_by_type(shape: tuple[int, ...], dtype: np.dtype, want: ImageSpec) -> ImageSpec:
    """Return the type and scale on which a run reads arrays [n *shape]. It depends on their type, not on their values.

    So an image is the same to a run for any other images. uint8, uint16 and masks span their type. Other integers are
    on the scale of the run. Floats are on the scale of a run that stores floats, otherwise from 0 to 1.
    """
    name = "uint8" if dtype.kind == "b" else dtype.name
    as_it_is = want.dtype not in FULL_SCALE if dtype.kind == "f" else name not in FULL_SCALE
    if as_it_is or name == want.dtype:
        return ImageSpec(tuple(shape), want.dtype, want.low, want.high)
    if dtype.kind == "f":
        return ImageSpec(tuple(shape), "float32", 0.0, 1.0)
    return ImageSpec(tuple(shape), name, 0.0, float(FULL_SCALE[name]))


def require_scale(block: np.ndarray, have: ImageSpec, want: ImageSpec) -> None:
    """Raise UserError for raw values outside the scale on which they are read."""
    if block.dtype == bool or block.dtype == have.dtype in FULL_SCALE or not block.size:
        return
    low, high = block.min(), block.max()
    if have.dtype in FULL_SCALE:
        within = (0.0, float(FULL_SCALE[have.dtype]))
        remedy = f"rescale them to 0 to {FULL_SCALE[have.dtype]}"
    elif (have.low, have.high) == (0, 1):
        within = (-UNIT_SLACK, 1 + UNIT_SLACK)
        remedy = "rescale them to 0 to 1" + (f", or give {want.dtype}" if want.dtype in FULL_SCALE else "")
    else:
        return
    if low < within[0] or high > within[1]:
        kind = f"{want.dtype} values" if want.dtype in FULL_SCALE else f"values from {want.low:g} to {want.high:g}"
        raise UserError(
            f"source: mismatched images: the run was trained on {kind}, "
            f"got {block.dtype} from {low:g} to {high:g}; {remedy}"
        )


def convert(images: np.ndarray, have: ImageSpec, want: ImageSpec, aspect: Aspect = "stretch") -> np.ndarray:
    """Convert images [n c h w] from one spec to another: channels, height and width, type and range.

    Values of the same type are not rescaled.

    Args:
        images: [n c h w].
        have: The spec of the images.
        want: The spec to convert to.
        aspect: Treatment of images that are not square, if `want` is.
    """
    if images.shape[1] != want.channels:
        images = _convert_channels(images, want.channels)
    if images.shape[2:] != want.shape[1:]:
        images = square_arrays(images, want.resolution, aspect)
    if have.dtype == want.dtype:
        return images
    unit = (images.astype(np.float32) - have.low) / (have.high - have.low)
    return to_type(unit * (want.high - want.low) + want.low, np.dtype(want.dtype))


def check_convertible(have_channels: int, want: ImageSpec) -> None:
    """Raise UserError if the number of channels cannot be converted to that of `want`."""
    if have_channels != want.channels and not {have_channels, want.channels} <= {1, 3}:
        raise UserError(
            f"source: mismatched images: the run was trained on {want.channels} channels, got {have_channels}; "
            "only grey and RGB images can be converted"
        )


def _convert_channels(images: np.ndarray, channels: int) -> np.ndarray:
    if images.shape[1] == 1:
        return np.repeat(images, channels, axis=1)
    grey = np.einsum("nchw,c->nhw", images.astype(np.float32), np.array(LUMA, dtype=np.float32))
    return to_type(grey[:, None], images.dtype)
