"""Rows on the unit scale as a DataFrame in their own units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from salience.modalities.table.spec import TableSpec
from salience.modalities.table.unit import column_widths


def as_frame(x: np.ndarray, spec: TableSpec) -> pd.DataFrame:
    """Numbers in their own units; a category is the likeliest one.  x: [n width]"""
    frame: dict[str, Any] = {}
    first = 0
    for column, width in zip(spec.columns, column_widths(spec), strict=True):
        part, first = x[:, first : first + width], first + width
        if column.kind == "number":
            frame[column.name] = part[:, 0] * (column.std or 1.0) + column.mean
        else:
            frame[column.name] = np.array(column.categories, object)[part.argmax(1)]
    return pd.DataFrame(frame)
