"""The spec of stored texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from salience.modalities.spec import Spec

if TYPE_CHECKING:
    from salience.modalities.text import Text


@dataclass(frozen=True)
class TextSpec(Spec):
    """The spec of texts, stored as numbers of tokens [t]; 0 is padding.

    Attributes:
        vocabulary: The tokenizer and the statistics of its tokens, as JSON: see `vocabulary.Vocabulary`.
        tokens: Number of different stored values, with the padding.
        longest: The most tokens of a text; the rest of a longer one is left out.
    """

    files: ClassVar[tuple[str, ...]] = ("vocabulary",)

    vocabulary: str = ""
    tokens: int = 1
    longest: int = 1

    @property
    def modality(self) -> Text:
        from salience.modalities.text import MODALITY

        return MODALITY

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "vocabulary": json.loads(self.vocabulary)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        vocabulary = plain["vocabulary"]
        if not isinstance(vocabulary, Mapping):
            raise ValueError("spec: invalid value of vocabulary")
        return super().from_plain({**plain, "vocabulary": as_json(vocabulary)})

    def checks(self) -> Iterable[tuple[str, bool]]:
        yield from super().checks()
        for name in ("tokens", "longest"):
            value = getattr(self, name)
            yield name, isinstance(value, int) and 0 < value < 2**31
        yield "vocabulary", "kind" in json.loads(self.vocabulary)

    @property
    def unit_form(self) -> tuple[Any, ...]:
        return self.form

    @property
    def form(self) -> tuple[Any, ...]:
        return (*super().form, self.vocabulary)


def as_json(plain: Mapping[str, Any]) -> str:
    """Return equal text for equal values."""
    return json.dumps(plain, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
