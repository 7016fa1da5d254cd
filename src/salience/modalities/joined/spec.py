"""The spec of joined sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from salience.modalities.spec import Spec

if TYPE_CHECKING:
    from salience.modalities.joined import Joined


@dataclass(frozen=True)
class JoinedSpec(Spec):
    """The spec of items with several parts, each with its own kind of data.

    Attributes:
        parts: (name, spec) of each part, the main one first.
    """

    parts: tuple[tuple[str, Spec], ...] = ()

    @classmethod
    def of(cls, parts: Mapping[str, Spec]) -> Self:
        return cls((), "float32", tuple(parts.items()))

    @property
    def modality(self) -> Joined:
        from salience.modalities.joined import MODALITY

        return MODALITY

    def to_dict(self) -> dict[str, Any]:
        return {"modality": self.modality.name, "parts": {name: spec.to_dict() for name, spec in self.parts}}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        return cls.of({str(name): Spec.from_dict(part) for name, part in plain["parts"].items()})

    def checks(self) -> Iterable[tuple[str, bool]]:
        yield from super().checks()
        yield "parts", len(self.parts) > 1

    @property
    def form(self) -> tuple[Any, ...]:
        return (self.modality.name, *((name, spec.form) for name, spec in self.parts))

    @property
    def unit_form(self) -> tuple[Any, ...]:
        return (self.modality.name, *((name, spec.unit_form) for name, spec in self.parts))
