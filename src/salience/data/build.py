"""Conversion of the content of a source to stored items, by the kind of data that claims it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from salience.errors import UserError
from salience.fields.build_options import Built, Options
from salience.fields.content import Content, Found
from salience.modalities import Modality, find, known


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
    modality = _choose_modality(
        content, None if want is not None and not want.modality.accepts(content) else options.kind
    )
    if want is not None and want.modality.name != modality.name:
        raise UserError(
            f"source: mismatched data: the run was trained on {want.modality.name} data, got {modality.name} data"
        )
    if isinstance(content, np.ndarray) and not content.size:
        raise UserError(f"source: an array of shape {content.shape} has no items")
    return modality.build(found, replace(options, path=None if folder is None else folder / "x.bin"))


def _choose_modality(content: Content, kind: str | None) -> Modality[Any]:
    """Return the kind of data that the user asks for, otherwise the first that recognises the content."""
    if kind is not None:
        asked = find(kind)
        if asked.accepts(content):
            return asked
    modality = next((one for one in known() if one.recognizes(content)), None)
    if kind is not None:
        instead = "" if modality is None else f"; it is read as {modality.plural} without --kind"
        raise UserError(f"kind: this source cannot be read as {find(kind).plural}{instead}")
    if modality is None:
        raise UserError(f"source: unsupported kind of data: {type(content).__name__}")
    return modality
