"""The base class of specs. A spec describes the stored items of one source; every kind of data has its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from salience.modalities.modality import Modality

DTYPES = ("uint8", "uint16", "int16", "int64", "float32", "float64")  # that items are stored as


@dataclass(frozen=True)
class Spec(ABC):
    """Description of one stored item, with the statistics to standardise it. Every run stores its spec.

    Attributes:
        shape: Shape of one stored item; of one token if the data are ragged.
        dtype: Type of the stored values, one of DTYPES.
        views: The view policy that suits the data ("glyphs" for digits), if the source or a test of the data tells it.
        files: Names of large fields, which a run keeps as JSON files beside its config.
    """

    files: ClassVar[tuple[str, ...]] = ()

    shape: tuple[int, ...]
    dtype: str
    views: str | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def modality(self) -> Modality[Any]:
        """The kind of data."""

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain lists, numbers and strings, for YAML and JSON."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"modality": self.modality.name, **plain}

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Spec:
        """Return the spec of any kind of data, written with `to_dict` by any version.

        Raises:
            ValueError, TypeError, KeyError, UserError: The file with the spec is damaged.
        """
        from salience.modalities.registry import find

        spec = find(plain["modality"]).spec.from_plain(plain)
        spec.check()
        return spec

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return a spec of this class. Unknown fields are ignored, because version 0.1 wrote those of all kinds."""
        mine: dict[str, Any] = {one.name: plain[one.name] for one in fields(cls) if one.name in plain}
        known: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in mine.items()}
        return cls(**known)

    def check(self) -> None:
        """Raise ValueError for the first field with an invalid value."""
        for name, fits in self.checks():
            if not fits:
                raise ValueError(f"spec: invalid value of {name}")

    def checks(self) -> Iterable[tuple[str, bool]]:
        """Yield (name of a field, whether its value is valid)."""
        yield "dtype", self.dtype in DTYPES
        yield "shape", all(isinstance(side, int) and side > 0 for side in self.shape)
        yield "views", self.views is None or isinstance(self.views, str)

    @property
    def unit_form(self) -> tuple[Any, ...]:
        """The part of the spec that must be equal for two sources to have the same unit-scale items."""
        return self.modality.name, self.shape

    @property
    def form(self) -> tuple[Any, ...]:
        """The part of the spec that must be equal for one network to read two sources; without statistics."""
        return self.modality.name, self.shape


def are_numbers(values: Iterable[Any]) -> bool:
    """Return whether all values are numbers, as the statistics of a spec must be."""
    return all(isinstance(value, int | float) for value in values)
