"""The spec of stored rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from salience.modalities.spec import Spec, are_numbers

if TYPE_CHECKING:
    from salience.modalities.table import Table


@dataclass(frozen=True)
class Column:
    """One column. A category is stored as its position in `categories`; missing values as NaN.

    Attributes:
        name: Name of the column.
        kind: "number" or "category".
        categories: Names of the categories.
        mean, std: Statistics of the known values of a numeric column, on the training data.
    """

    name: str
    kind: str = "number"
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class TableSpec(Spec):
    """The spec of rows [columns].

    Attributes:
        columns: One entry per value of a stored row.
    """

    columns: tuple[Column, ...] = ()

    @property
    def modality(self) -> Table:
        from salience.modalities.table import MODALITY

        return MODALITY

    def to_dict(self) -> dict[str, Any]:
        columns = [{**asdict(column), "categories": list(column.categories)} for column in self.columns]
        return {**super().to_dict(), "columns": columns}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        columns = tuple(Column(**{**column, "categories": tuple(column["categories"])}) for column in plain["columns"])
        return replace(super().from_plain({**plain, "columns": ()}), columns=columns)

    def checks(self) -> Iterable[tuple[str, bool]]:
        yield from super().checks()
        yield "mean and std", are_numbers(number for column in self.columns for number in (column.mean, column.std))
        texts = (text for column in self.columns for text in (column.name, *column.categories))
        yield "columns", all(isinstance(text, str) for text in texts)

    @property
    def unit_form(self) -> tuple[Any, ...]:
        return (*super().unit_form, self.columns)

    @property
    def form(self) -> tuple[Any, ...]:
        return (*super().form, [(column.name, column.kind, column.categories) for column in self.columns])


def column_widths(spec: TableSpec) -> list[int]:
    """Return the number of unit-scale values of each column."""
    return [1 if column.kind == "number" else len(column.categories) for column in spec.columns]
