"""Tables as a kind of data. This module implements the contract `Modality` with the other modules of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from salience.errors import UserError
from salience.modalities.modality import Items, Modality
from salience.modalities.table.spec import Column, TableSpec
from salience.units import counted, printable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from torch import Tensor, dtype

    from salience.fields.build_options import Built, Options
    from salience.fields.content import Found
    from salience.views.policy import Policy

MOST_SHOWN = 64  # a store contains the columns of tables with at most this many

__all__ = ["MODALITY", "Column", "Table", "TableSpec"]


class Table(Modality[TableSpec]):
    """Rows of numbers and categories [columns]."""

    name = "table"
    item = "table row"
    plural = "table rows"
    spec = TableSpec
    policies: ClassVar[Mapping[str, str]] = {"table": "rows of a table: hidden columns, noise on the numbers"}

    # --- from a source to stored items

    def recognizes(self, content: Any) -> bool:
        import numpy as np

        from salience.fields.content import Frames

        return isinstance(content, Frames) or (isinstance(content, np.ndarray) and content.ndim == 2)

    def build(self, found: Found, options: Options) -> Built:
        from salience.modalities.table.table_builder import build

        return build(found, options)

    def describe(self, shape: Sequence[int], dtype: str, count: int) -> str:
        return f"{counted(count, 'row')} of {counted(shape[0], 'column')}"

    def columns(self, spec: TableSpec) -> list[str]:
        return [column.name for column in spec.columns]

    def describe_columns(self, data: Any) -> list[dict[str, Any]]:
        import numpy as np

        missing = sum(np.isnan(x).sum(0) for x in data.arrays())
        return [
            {"name": column.name, "kind": column.kind, "missing": int(count), "categories": len(column.categories)}
            for column, count in zip(data.spec.columns, np.atleast_1d(missing), strict=True)
        ]

    def missing(self, x: Tensor) -> int:
        return int(x.isnan().sum())

    def to_array(self, unit: Tensor, spec: TableSpec, shape: Sequence[int]) -> np.ndarray:
        import numpy as np

        mean, std = ([getattr(column, name) for column in spec.columns] for name in ("mean", "std"))
        return unit.numpy() * np.where(std, std, 1.0) + mean

    # --- the unit scale

    def unit(self, x: Tensor, spec: TableSpec) -> Tensor:
        from salience.modalities.table.unit import unit_table

        return unit_table(x, spec)

    def width(self, spec: TableSpec) -> int:
        from salience.modalities.table.spec import column_widths

        return sum(column_widths(spec))

    def flat(self, x: Tensor, spec: TableSpec, dtype: dtype, mask: Tensor | None = None) -> Tensor:
        from salience.modalities.table.unit import unit_table

        return unit_table(x, spec, dtype)  # double precision stays, where networks take float32

    def value_range(self, spec: TableSpec) -> tuple[Tensor, Tensor]:
        from salience.modalities.table.unit import value_range

        return value_range(spec)

    # --- views, networks, likelihoods

    def policy(self, name: str) -> Policy:
        from salience.modalities.table.policies import POLICIES

        return POLICIES[name]

    def default_policy(self, spec: TableSpec) -> tuple[str, str]:
        return "table", "the data is a table"

    def refuse_bernoulli(self, spec: TableSpec, option: str) -> None:
        numbers = [column.name for column in spec.columns if column.kind == "number"]
        if numbers:
            raise UserError(
                f"{option}: 'bernoulli' requires values between 0 and 1, such as pixels and categories, but column "
                f"'{printable(numbers[0])}' is numeric; use 'gaussian'"
            )

    def to_range(self, x: Tensor, spec: TableSpec) -> Tensor:
        from salience.modalities.table.unit import probabilities

        return probabilities(x, spec)

    # --- evaluation and show

    def text(self, data: Items, row: int) -> str:
        from salience.modalities.table.row_coder import text

        return text(data, row)

    def frame(self, x: np.ndarray, spec: TableSpec) -> pd.DataFrame:
        from salience.modalities.table.frame import as_frame

        return as_frame(x, spec)

    def value_names(self, spec: TableSpec) -> list[str]:
        parts = [[c.name] if c.kind == "number" else [f"{c.name}: {one}" for one in c.categories] for c in spec.columns]
        return [name for part in parts for name in part]

    def store_names(self, spec: TableSpec) -> list[str]:
        return self.columns(spec) if len(spec.columns) <= MOST_SHOWN else []

    def store_columns(self, data: Any) -> dict[str, pa.Array]:
        from salience.modalities.table.store_columns import make_store_columns

        return make_store_columns(data)


MODALITY = Table()
