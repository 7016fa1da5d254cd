"""Thumbnails of stored images, for a store and the page."""

from __future__ import annotations

import io

import pyarrow as pa

from salience.modalities.image.conversion import thumbnail
from salience.modalities.modality import Items

SIDE = 96  # maximum of the longer side, in pixels


def thumbnails(data: Items) -> pa.Array:
    """Return a PNG file of every item, as bytes."""
    return pa.array([png(data, row) for row in range(len(data))], pa.binary())  # type: ignore[arg-type]


def png(data: Items, row: int) -> bytes:
    image, file = thumbnail(data, row), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()
