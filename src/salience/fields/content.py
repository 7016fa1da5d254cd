"""The content of a source, before it is converted to stored items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from salience.fields.ids import Ids
from salience.reading import AS_FOUND, Reading

if TYPE_CHECKING:
    import pandas as pd

    from salience.modalities.image.headers import Blob


@dataclass(frozen=True)
class Encoded:
    """Files of one kind of data, or their bytes.

    Attributes:
        kind: Name of the kind of data.
        count: Number of items.
        chunks: Function that iterates over them in order, as lists.
    """

    kind: str
    count: int
    chunks: Callable[[], Iterator[list[Blob]]]


@dataclass(frozen=True)
class Frames:
    """A table.

    Attributes:
        chunks: Function that iterates over its rows in order, as DataFrames.
        texts: Whether every cell is text as in the file, so that the kinds of columns must be inferred.
        reading: Options of reading given by the user.
        comma: Whether 1,234 has a decimal comma if no other cell decides.
        held: Words given with --missing that occur in labels or groups.
        notes: Function that returns notes after the chunks were read.
        names: Names of the columns, if they are known before the rows are read.
    """

    chunks: Callable[[], Iterator[pd.DataFrame]]
    texts: bool = False
    reading: Reading = AS_FOUND
    comma: bool = False
    held: frozenset[str] = frozenset()
    notes: Callable[[], tuple[str, ...]] = tuple
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrays:
    """Items of different shapes, one array each.

    Attributes:
        kind: Name of the kind of data; None for arrays in memory, whose kind is not known.
        count: Number of items.
        chunks: Function that iterates over them in order, as lists. A text in place of an array is the reason why the
            item is left out.
        notes: Function that returns notes after the chunks were read.
        rate: Function that returns the number of steps a second after the chunks were read, None if unknown.
        axes: Largest number of axes of arrays in memory.
    """

    kind: str | None
    count: int
    chunks: Callable[[], Iterator[list[np.ndarray | str]]]
    notes: Callable[[], tuple[str, ...]] = tuple
    rate: Callable[[], float | None] = lambda: None
    axes: int = 0


@dataclass(frozen=True)
class Texts:
    """Texts, such as the cells of a column.

    Attributes:
        chunks: Function that iterates over them in order, as lists; None is a missing text.
        count: Number of texts.
        reading: Options of reading given by the user.
        stream: Whether each text is a part of one stream, so that it is always cut into windows.
        start: Position in its file of the first character of a stream.
        notes: Function that returns notes after the chunks were read.
    """

    chunks: Callable[[], Iterator[Iterable[str | None]]]
    count: int
    reading: Reading = AS_FOUND
    stream: bool = False
    start: int = 0
    notes: Callable[[], tuple[str, ...]] = tuple


Content = Encoded | Frames | Arrays | Texts | np.ndarray


@dataclass(frozen=True)
class Found:
    """The content of a source.

    Attributes:
        content: Files, a table, or an array [n ...].
        ids: Ids of the items; None for row numbers.
        labels: [n] int64, -1 if unknown.
        classes: Names of the classes.
        groups: [n] int64.
        views: The view policy that suits the data, if the source declares it.
        notes: What was inferred while reading.
        reading: Inferred options of reading that a run needs to read new data in the same way.
        splits: Names of all splits, if a column of the source gives them.
    """

    content: Content
    ids: Ids | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    views: str | None = None
    notes: tuple[str, ...] = ()
    reading: Reading = AS_FOUND
    splits: tuple[str, ...] = ()
