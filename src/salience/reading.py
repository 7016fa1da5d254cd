"""The options that control how a source is read. Every command takes them with a source; a run stores them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from salience.errors import UserError

Folders = Literal["classes", "splits", "flat"]
Aspect = Literal["crop", "pad", "stretch"]
Decimal = Literal[".", ","]
DEFAULT_ASPECT: Aspect = "crop"
CHOICES = {"folders": get_args(Folders), "aspect": get_args(Aspect), "decimal": get_args(Decimal)}
RATES = (100, 384_000)  # samples per second
CHANNEL = "mix|left|right|[1-9][0-9]{0,2}"
TEXTS = {"missing": "words such as NA", "categorical": "names of columns"}
NAMES = {"kind": "the name of a kind of data", "text": "the name of a column", "tokenizer": "the name of a tokenizer"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options that control how a source is read. An option that is None is inferred from the source, with a note.

    Args:
        kind: The kind of data, such as "image" or "table", if the source can be read as several.
        folders: Meaning of the subfolders of a folder of images: "classes", "splits" (train, test), or "flat" to
            ignore them.
        aspect: Treatment of images that are not square: "crop" (the default) keeps the centre, "pad" fills the rest
            with the median of the border, "stretch" changes the shape.
        separator: The character between the cells of a CSV file.
        decimal: The decimal sign of numbers in a CSV file.
        header: Whether the first line of a CSV file contains the column names.
        missing: Words that stand for a missing value, in every column.
        categorical: Names of columns that are read as categories, even if they contain numbers.
        rate: Samples per second that recordings are resampled to. Default: the most frequent rate of the source.
        channel: The channel of a recording that is read: "mix" (the default) for the mean of all, "left", "right", or
            its number.
        text: The column of a table whose texts are the items.
        tokenizer: The tokenizer of texts: "bpe" (the default) is learned from the training data, "characters" makes a
            token of every character, and a folder or hf:NAME is a published tokenizer.
        window: Length of a window: seconds of sound, characters of text.
        hop: Distance between the starts of two windows, in the same unit. Default: the length of a window.

    Raises:
        UserError: A value is not one of the allowed values.
    """

    kind: str | None = None
    folders: Folders | None = None
    aspect: Aspect | None = None
    separator: str | None = None
    decimal: Decimal | None = None
    header: bool | None = None
    missing: tuple[str, ...] | None = None
    categorical: tuple[str, ...] | None = None
    rate: int | None = None
    channel: str | None = None
    text: str | None = None
    tokenizer: str | None = None
    window: float | None = None
    hop: float | None = None

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in known:
                raise UserError(f"{name}: expected one of {', '.join(known)}; got {value!r}")
        for name, expected in NAMES.items():
            if (given := getattr(self, name)) is not None and not isinstance(given, str):
                raise UserError(f"{name}: expected {expected}, got {given!r}")
        self._check_texts()
        self._check_windows()
        self._check_sound()
        if self.header is not None and not isinstance(self.header, bool):
            raise UserError(f"header: expected True or False, got {self.header!r}")

    def _check_texts(self) -> None:
        if self.separator in ("tab", "\\t"):  # spellings that can be typed in a shell
            object.__setattr__(self, "separator", "\t")
        if self.separator is not None and (not isinstance(self.separator, str) or len(self.separator) != 1):
            raise UserError(f"separator: expected one character, such as ';', or 'tab'; got {self.separator!r}")
        for name, expected in TEXTS.items():
            if (given := getattr(self, name)) is not None:
                texts = (given,) if isinstance(given, str) else tuple(given)
                if not all(isinstance(text, str) for text in texts):
                    raise UserError(f"{name}: expected {expected}, got {given!r}")
                object.__setattr__(self, name, texts)

    def _check_windows(self) -> None:
        for name in ("window", "hop"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise UserError(f"{name}: expected a length above 0, in seconds or characters; got {value!r}")
            object.__setattr__(self, name, float(value))
        if self.hop is not None and self.window is None:
            raise UserError("hop: expected together with window; give the length of a window, too")
        if self.hop is not None and self.window is not None and self.hop > self.window:
            raise UserError(
                f"hop: expected at most the window of {self.window:g}, got {self.hop:g}; parts would be lost"
            )

    def _check_sound(self) -> None:
        low, high = RATES
        if self.rate is not None and not (isinstance(self.rate, int) and low <= self.rate <= high):
            raise UserError(f"rate: expected {low} to {high} samples per second, got {self.rate!r}")
        if self.channel is not None and not re.fullmatch(CHANNEL, str(self.channel), re.ASCII):
            raise UserError(f"channel: expected mix, left, right or a number from 1, got {self.channel!r}")

    def over(self, other: Reading) -> Reading:
        """Return this reading, with its None options taken from `other`."""
        return Reading(**{name: mine if mine is not None else theirs for name, mine, theirs in self._with(other)})

    def _with(self, other: Reading) -> list[tuple[str, Any, Any]]:
        return [(field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are set, as plain values for a config."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Reading:
        """Return the reading stored in a run's config. Runs older than this option stretch images.

        Raises:
            UserError: The config is damaged.
        """
        said = config.get("reading", {"aspect": "stretch"})
        if not isinstance(said, Mapping) or not set(said) <= {field.name for field in fields(cls)}:
            raise UserError(f"run: its config.yaml is damaged: reading is {str(said)[:80]!r}")
        return cls(**said)


AS_FOUND = Reading()
"""The reading that infers every option from the source."""
