"""What is for images alone."""

from __future__ import annotations

from salience.data import Dataset
from salience.errors import UserError


def require_images(data: Dataset, verb: str) -> None:
    """Raise UserError if the data are no images.  verb: what is for images, in words"""
    modality = data.spec.modality
    if not modality.shows_pictures:
        raise UserError(f"source: {verb} is for images, {data.name} is {modality.name} data; give images")
