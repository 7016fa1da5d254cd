"""Conversion of rows on the unit scale to a DataFrame in the original units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from salience.modalities.table.spec import TableSpec, column_widths


def as_frame(x: np.ndarray, spec: TableSpec) -> pd.DataFrame:
    """Convert x [n width] on the unit scale to a DataFrame: numbers in original units, the most probable category."""
    frame: dict[str, Any] = {}
    first = 0
    for column, width in zip(spec.columns, column_widths(spec), strict=True):
        part, first = x[:, first : first + width], first + width
        if column.kind == "number":
            frame[column.name] = part[:, 0] * (column.std or 1.0) + column.mean
        else:
            frame[column.name] = np.array(column.categories, object)[part.argmax(1)]
    return pd.DataFrame(frame)
