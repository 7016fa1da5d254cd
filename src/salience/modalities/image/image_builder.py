"""Conversion of encoded files and arrays to stored images [n c h w], square and of one type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from salience.errors import UserError
from salience.fields.blocks import can_use_in_place, convert_blocks, keep_rows
from salience.fields.build_options import Built, Options
from salience.fields.content import Encoded, Found
from salience.modalities.image import conversion as image
from salience.modalities.image.encoded import build_encoded
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.square import square_arrays
from salience.reading import Aspect


def build(found: Found, options: Options) -> Built:
    """Convert images to stored rows. Raises UserError if none can be read, or they do not fit `options.spec`."""
    if isinstance(found.content, Encoded):
        return build_encoded(found.content, found, options, options.path)
    assert isinstance(found.content, np.ndarray)
    return build_images(found.content, found, options)


@dataclass(frozen=True)
class Plan:
    """The conversion of an array of images: its function, the result, and whether it leaves the array unchanged."""

    convert: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    dtype: np.dtype
    unchanged: bool
    notes: tuple[str, ...] = ()


def build_images(array: np.ndarray, found: Found, options: Options) -> Built:
    """Convert an array [n h w], [n c h w] or [n h w c]."""
    images, want = image.as_images(array), options.spec
    if want is not None:
        refuse_ambiguous_image(array.shape, want)
    plan = _own_plan(images, options) if want is None else make_conversion(images, want, options.aspect)
    blocks = convert_blocks(images, plan.convert, options.progress)
    as_is = plan.unchanged and can_use_in_place(array, in_memory=options.path is None)
    x, scan = keep_rows(images, blocks, plan.shape, plan.dtype, options.path, as_is)
    spec = want or image.make_spec(plan.shape, plan.dtype.name, scan.moments, views=found.views)
    return Built(x, spec, len(images), len(images), scan.fingerprint, notes=plan.notes)


def _own_plan(images: np.ndarray, options: Options) -> Plan:
    dtype, channels = image.stored_dtype(images), images.shape[1]
    side, notes = image.choose_resolution(np.array([images.shape[:1:-1]]), options.resolution, options.aspect)
    unchanged = images.shape[2:] == (side, side) and images.dtype == dtype
    return Plan(
        lambda block: square_arrays(image.as_stored(block, dtype), side, options.aspect),
        (channels, side, side),
        dtype,
        unchanged,
        notes,
    )


def make_conversion(images: np.ndarray, want: ImageSpec, aspect: Aspect) -> Plan:
    """Plan the conversion of images [n c h w] to the spec of a run."""
    image.check_convertible(images.shape[1], want)
    have = image.read_by_type(images.shape[1:], images.dtype, want)

    def convert(block: np.ndarray) -> np.ndarray:
        image.require_scale(block, have, want)
        return image.convert(image.as_stored(block, np.dtype(have.dtype)), have, want, aspect)

    unchanged = images.shape[1:] == want.shape and images.dtype == want.dtype
    notes = image.describe_conversion(np.array([images.shape[:1:-1]]), np.array([images.shape[1]]), want, aspect)
    return Plan(convert, want.shape, np.dtype(want.dtype), unchanged, notes)


def refuse_ambiguous_image(shape: tuple[int, ...], want: ImageSpec) -> None:
    """Refuse an array that may be one colour image, [h w 3] or [3 h w], or several grey ones, [n h w]."""
    if len(shape) == 3 and want.channels == 3 and 3 in (shape[0], shape[-1]):
        raise UserError(
            f"source: an array of shape {shape} may be one RGB image or {shape[0]} grey images; "
            "give a single image as x[None], grey images as x[:, None]"
        )
