"""Conversion of the content of a source to stored items, by the kind of data that claims it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from salience.errors import UserError
from salience.fields.build_options import Built, Options
from salience.fields.content import Found
from salience.modalities import known


def build(found: Found, options: Options, folder: Path | None) -> Built:
    """Convert the content of a source to stored items.

    Args:
        found: The content of the source.
        options: Options of the conversion.
        folder: Folder for the stored items; None keeps them in memory.

    Raises:
        UserError: No item can be read, a value is not finite, or the data do not fit `options.spec`.
    """
    content, want = found.content, options.spec
    modality = next((one for one in known() if one.recognizes(content)), None)
    if modality is None:
        raise UserError(f"source: unsupported kind of data: {type(content).__name__}")
    if want is not None and want.modality.name != modality.name:
        raise UserError(
            f"source: mismatched data: the run was trained on {want.modality.name} data, got {modality.name} data"
        )
    if isinstance(content, np.ndarray) and not content.size:
        raise UserError(f"source: an array of shape {content.shape} has no items")
    return modality.build(found, replace(options, path=None if folder is None else folder / "x.bin"))
