"""Word vectors as sources: word2vec (text and binary), GloVe and .npz files. Items are vectors, their ids are words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from salience.data.sources.arrays import load_member, names_in_npz
from salience.data.sources.query import Query, require_train_split
from salience.errors import UserError
from salience.fields.content import Found
from salience.fields.ids import Ids
from salience.fields.source import Source, mark_of_files

EXTENSIONS = (".vec", ".bin", ".txt")
NAMES = {"words", "vectors"}  # of the arrays in a .npz file
LEAST = 5  # numbers in a line of vectors


def is_word_vectors(path: Path) -> bool:
    """Return whether a file holds word vectors, by its first line or its names."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _names_in(path) == NAMES
    if suffix not in EXTENSIONS:
        return False
    with path.open("rb") as file:
        first = file.readline(1 << 16).split()
    if len(first) == 2 and all(part.isdigit() for part in first):
        return True
    return suffix != ".bin" and len(first) > LEAST and _numbers(first[1:]) is not None


def _names_in(path: Path) -> set[str]:
    """Return the names of the arrays in an .npz file; none if it is damaged, which its reader reports."""
    try:
        return set(names_in_npz(path))
    except UserError:
        return set()


def open_vectors(path: Path, query: Query) -> Source:
    """Open a file of word vectors."""
    require_train_split(query, str(path))
    return Source(path.stem, "train", lambda: _read(path), mark_of_files([path]), str(path.resolve()))


def _read(path: Path) -> Found:
    words, vectors = _npz(path) if path.suffix.lower() == ".npz" else _lines(path)
    seen: set[str] = set()
    kept = [row for row, word in enumerate(words) if not (word in seen or seen.add(word))]  # type: ignore[func-returns-value]
    notes = () if len(kept) == len(words) else (f"{len(words) - len(kept)} words occur again and are left out",)
    return Found(np.ascontiguousarray(vectors[kept], np.float32), Ids.of([words[row] for row in kept]), notes=notes)


def _npz(path: Path) -> tuple[list[str], np.ndarray]:
    words, vectors = load_member(path, "words"), load_member(path, "vectors")
    if words.ndim != 1 or vectors.ndim != 2 or len(words) != len(vectors) or words.dtype.kind not in "US":
        shapes = f"words {list(words.shape)} and vectors {list(vectors.shape)}"
        raise UserError(f"source: {path}: expected texts words [n] and vectors [n d], got {shapes}")
    return [word.decode() if isinstance(word, bytes) else str(word) for word in words], vectors


def _lines(path: Path) -> tuple[list[str], np.ndarray]:
    """Read word2vec, whose first line has the numbers of words and of values, or GloVe, which has no such line."""
    with path.open("rb") as file:
        first = file.readline().split()
        headed = len(first) == 2 and all(part.isdigit() for part in first)
        if headed and path.suffix.lower() == ".bin":
            return _binary(file.read(), int(first[0]), int(first[1]), path)
    words: list[str] = []
    rows: list[np.ndarray] = []
    for number, (word, values) in enumerate(_parsed(path, headed), 1 + headed):
        if values is None or (rows and len(values) != len(rows[0])):
            expected = f"a word and {len(rows[0]) if rows else 'its'} numbers"
            raise UserError(f"source: {path} line {number}: expected {expected}; correct or remove the line")
        words.append(word)
        rows.append(values)
    if headed and (len(rows), len(rows[0]) if rows else 0) != (int(first[0]), int(first[1])):
        raise UserError(
            f"source: {path}: its first line declares {b' '.join(first).decode()}, {len(rows)} words follow"
        )
    return words, np.stack(rows)


def _parsed(path: Path, headed: bool) -> Iterator[tuple[str, np.ndarray | None]]:
    with path.open("rb") as file:
        if headed:
            file.readline()
        for line in file:
            if parts := line.rstrip(b"\r\n ").split(b" "):
                yield parts[0].decode("utf-8", "replace"), _numbers(parts[1:])


def _numbers(parts: list[bytes]) -> np.ndarray | None:
    try:
        return np.array([float(part) for part in parts], np.float32)
    except ValueError:
        return None


def _binary(content: bytes, count: int, width: int, path: Path) -> tuple[list[str], np.ndarray]:
    """Read the binary format of word2vec: the word, a space, the values as float32."""
    words, at, vectors = [], 0, np.empty((count, width), np.float32)
    for row in range(count):
        end = content.find(b" ", at)
        if end < 0 or end + 1 + 4 * width > len(content):
            raise UserError(f"source: {path} ends after {row:,} of {count:,} words; download it again")
        words.append(content[at:end].lstrip(b"\n").decode("utf-8", "replace"))
        vectors[row] = np.frombuffer(content, "<f4", width, end + 1)
        at = end + 1 + 4 * width
    return words, vectors
