"""What stored rows of a table are."""

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

    mean, std: of a numeric column's known values, on the training data
    """

    name: str
    kind: str = "number"
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class TableSpec(Spec):
    """Rows [columns].

    columns: one entry per value of a stored row
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
