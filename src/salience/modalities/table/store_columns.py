"""The columns of a table as they were, for looking and for filtering in a store."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def make_store_columns(data: Any) -> dict[str, pa.Array]:
    """Column name -> its values, missing ones null. Nothing of a very wide table.

    data: a dataset of table rows
    """
    columns = data.spec.columns
    if not data.spec.modality.store_names(data.spec):
        return {}
    found = {}
    for column, numbers in zip(columns, np.asarray(data.x, np.float64).T, strict=True):
        if column.kind == "number":
            found[column.name] = pa.array(numbers, from_pandas=True)
        else:
            codes = np.where(np.isnan(numbers), len(column.categories), numbers).astype(int)
            found[column.name] = pa.array(np.array([*column.categories, None], object)[codes], pa.string())
    return found
