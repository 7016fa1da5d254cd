"""What the items of one source are: the contract of every kind of data's own `Spec`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from salience.modalities.modality import Modality

DTYPES = ("uint8", "uint16", "int64", "float32", "float64")  # that items are stored as


@dataclass(frozen=True)
class Spec(ABC):
    """What one stored item is, and the statistics that bring it to a network's scale. Kept in every run.

    shape: of one stored item; of ragged data, of one token
    dtype: as stored, one of DTYPES
    views: the view policy that suits the data, where its source or a test of the data tells ("glyphs" for digits)
    """

    shape: tuple[int, ...]
    dtype: str
    views: str | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def modality(self) -> Modality[Any]:
        """The kind of data."""

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for YAML and JSON."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"modality": self.modality.name, **plain}

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Spec:
        """What `to_dict` gave, of any kind of data, by any version.

        Raises ValueError, TypeError, KeyError or UserError where a file that holds it was damaged.
        """
        from salience.modalities.registry import find

        spec = find(plain["modality"]).spec.from_plain(plain)
        spec.check()
        return spec

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The same of this kind. What is none of its fields is left out: version 0.1 wrote those of all kinds."""
        mine: dict[str, Any] = {one.name: plain[one.name] for one in fields(cls) if one.name in plain}
        known: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in mine.items()}
        return cls(**known)

    def check(self) -> None:
        """Raises ValueError for the first value that is none of this kind."""
        for name, fits in self.checks():
            if not fits:
                raise ValueError(f"spec: invalid value of {name}")

    def checks(self) -> Iterable[tuple[str, bool]]:
        """(field, whether its value may be)"""
        yield "dtype", self.dtype in DTYPES
        yield "shape", all(isinstance(side, int) and side > 0 for side in self.shape)
        yield "views", self.views is None or isinstance(self.views, str)

    @property
    def unit_form(self) -> tuple[Any, ...]:
        """What must agree for a unit-scale item of one source to be one of another."""
        return self.modality.name, self.shape

    @property
    def form(self) -> tuple[Any, ...]:
        """What must agree between two sources whose items one network can take; statistics do not matter."""
        return self.modality.name, self.shape


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether all of them are numbers, as a spec's statistics must be."""
    return all(isinstance(value, int | float) for value in values)
