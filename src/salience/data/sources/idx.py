"""IDX files, the format of MNIST: two zero bytes, a type, the number of axes, their lengths, then the values."""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from salience.data.sources.arrays import make_side_mark, read_array
from salience.data.sources.query import Query, choose_split
from salience.errors import UserError
from salience.fields.content import Found
from salience.fields.source import Source, mark_of, mark_of_files
from salience.fields.space import require_memory
from salience.units import counted

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
MOST_AXES = 4
PIECE = 16 << 20  # bytes
SPLIT_OF = {
    "train": "train",
    "t10k": "test",
    "test": "test",
    "val": "val",
    "valid": "valid",
    "validation": "validation",
}
IMAGES = re.compile(rf"({'|'.join(SPLIT_OF)})[-_.]images.*")


def is_idx(path: Path) -> bool:
    try:
        with _open(path) as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in TYPES and 1 <= head[3] <= MOST_AXES


def holds_idx(folder: Path) -> bool:
    return bool(_splits(folder))


def open_folder(path: Path, query: Query) -> Source:
    """Open a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., gzipped or not."""
    splits = _splits(path)
    split = choose_split(query.split, splits, str(path))
    return replace(make_source(splits[split], path.resolve().name, split, query), splits=tuple(splits))


def open_file(path: Path, query: Query) -> Source:
    """Open one file of images. Its labels are in the file with "labels" instead of "images" in the name."""
    match = IMAGES.fullmatch(path.name)
    split = SPLIT_OF[match[1]] if match else "train"
    choose_split(query.split, [split], str(path))
    return make_source(path, path.name.split(".")[0], split, query)


def make_source(
    images: Path, name: str, split: str, query: Query, *, classes: tuple[str, ...] = (), views: str | None = None
) -> Source:
    """Make the source of a file of images. `classes`: names of the labels, if known."""
    labels = _labels_beside(images) if query.labels is None else None

    def read() -> Found:
        x = read_idx(images)
        y = None if labels is None else read_idx(labels)
        if y is not None and len(y) != len(x):
            raise UserError(
                f"source: expected one label per item, got {counted(len(y), 'label')} in {labels} for "
                f"{counted(len(x), 'item')} in {images}"
            )
        return read_array(x, query, y, classes=classes, views=views)

    files = [images, *([labels] if labels else [])]
    return Source(name, split, read, mark_of([mark_of_files(files), make_side_mark(query)]), str(images.resolve()))


def read_idx(path: Path) -> np.ndarray:
    """Read the array of an IDX file; memory-mapped if it is uncompressed and has one byte per value."""
    try:
        with _open(path) as file:
            zeros, kind, axes = struct.unpack(">HBB", file.read(4))
            if zeros or kind not in TYPES or not 1 <= axes <= MOST_AXES:
                raise UserError(f"source: {path} is not an IDX file")
            shape, dtype = struct.unpack(f">{axes}I", file.read(4 * axes)), np.dtype(TYPES[kind])
            needed = math.prod(shape) * dtype.itemsize
            if path.suffix != ".gz" and dtype.itemsize == 1:
                _require_size(path.stat().st_size - file.tell(), needed, shape, path)
                return np.memmap(path, dtype=dtype, mode="r", offset=4 + 4 * axes, shape=shape)
            data = _read_up_to(file, needed + 1, path)
    except UserError:
        raise
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"source: {path} cannot be read as IDX: {' '.join(str(error).split())}") from error
    _require_size(len(data), needed, shape, path)
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _require_size(there: int, needed: int, shape: tuple[int, ...], path: Path) -> None:
    if there != needed:
        found = f"{there:,} bytes follow" if there < needed else "more follow"
        wrong = "is truncated" if there < needed else "is damaged"
        raise UserError(f"source: {path} {wrong}: its header declares {list(shape)}, {needed:,} bytes, but {found}")


def _read_up_to(file: BinaryIO, most: int, path: Path) -> bytearray:
    """Read at most this many bytes. Memory grows with the actual content, not with the size in the header."""
    require_memory(most, f"source: {path}")
    data = bytearray()
    while len(data) < most and (piece := file.read(min(PIECE, most - len(data)))):
        data += piece
    return data


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _splits(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        match = IMAGES.fullmatch(entry.name)
        if match and entry.is_file() and is_idx(Path(entry.path)):
            found.setdefault(SPLIT_OF[match[1]], Path(entry.path))
    return found


def _labels_beside(images: Path) -> Path | None:
    stem = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    candidates = [images.with_name(stem + ending) for ending in ("", ".gz")]
    return next((path for path in candidates if path != images and path.is_file()), None)
