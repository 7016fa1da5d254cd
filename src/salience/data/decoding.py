"""Encoded images to stored rows: look at every header, choose one format for all, decode in threads.

What cannot be read is left out, with a reason; nothing stops for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from salience.batch import Spec
from salience.data.built import Built, Options
from salience.data.progress import progress_bar
from salience.data.rows import BLOCK_BYTES, store
from salience.data.source import Encoded, Found
from salience.errors import UserError
from salience.modalities import image
from salience.modalities.decode import Blob, Target, UnreadableError, decode, probe
from salience.processors import cores
from salience.units import printable

TASK_ITEMS = 64
Answer = TypeVar("Answer")


def build_encoded(encoded: Encoded, found: Found, options: Options, path: Path | None) -> Built:
    """Raises UserError where no item can be read."""
    want, reasons = options.spec, dict[int, str]()
    with ThreadPoolExecutor(cores()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # probing refuses those, with a reason
        headers = _probe_all(encoded, reasons, pool, options.progress)
        _require_some(encoded.count, reasons, found)
        target, shape, notes = _format(headers[headers[:, 0] > 0], options)
        dtype = np.dtype(want.dtype if want else "uint16" if target.deep else "uint8")
        blocks = _decode_all(encoded, target, want, reasons, pool, options.progress)
        x, scan = store(blocks, encoded.count - len(reasons), shape, dtype, path)
    _require_some(encoded.count, reasons, found)
    kept = np.delete(np.arange(encoded.count), list(reasons)) if reasons else None
    spec = want or image.make_spec(shape, dtype.name, scan.moments, full_scale=not target.deep, views=found.views)
    bad = tuple(sorted(reasons.items()))
    return Built(x, spec, scan.count, encoded.count, scan.fingerprint, kept, bad, notes)


def _format(headers: np.ndarray, options: Options) -> tuple[Target, tuple[int, ...], tuple[str, ...]]:
    """What to decode into, the shape to store, and notes.  headers: [n 4] of the readable items"""
    want = options.spec
    if want is None:
        target, notes = image.choose_target(headers, options.resolution)
        return target, (target.channels, target.resolution, target.resolution), notes
    image.check_convertible(3, want)
    deep = kept_deep(want)
    channels = np.where(headers[:, 2], 3, 1)
    return Target(want.channels, want.resolution, deep), want.shape, image.reading_notes(headers[:, :2], channels, want)


def _probe_all(encoded: Encoded, reasons: dict[int, str], pool: ThreadPoolExecutor, progress: bool) -> np.ndarray:
    """[count 4] int: width, height, colour, deep of every item; zeros where it cannot be read."""
    headers = np.zeros((encoded.count, 4), dtype=np.int64)
    row = 0
    with progress_bar(encoded.count, "looking at headers", progress) as bar:
        for chunk in encoded.chunks():
            for answer in _spread(pool, probe, chunk):
                if isinstance(answer, str):
                    reasons[row] = answer
                else:
                    headers[row] = answer.width, answer.height, answer.colour, answer.deep
                row += 1
            bar.update(len(chunk))
    return headers


def _decode_all(
    encoded: Encoded,
    target: Target,
    want: Spec | None,
    reasons: dict[int, str],
    pool: ThreadPoolExecutor,
    progress: bool,
) -> Iterator[np.ndarray]:
    """Blocks [n c h w] of the readable items, in order; what fails is added to `reasons`."""
    have = decoded_spec((target.channels, target.resolution, target.resolution), deep=target.deep)
    item_bytes = target.channels * target.resolution**2 * (2 if target.deep else 1)
    step = max(TASK_ITEMS, BLOCK_BYTES // item_bytes)
    row = 0
    with progress_bar(encoded.count, "decoding", progress) as bar:
        for chunk in encoded.chunks():
            for start in range(0, len(chunk), step):
                blobs = chunk[start : start + step]
                rows = [row + i for i in range(len(blobs)) if row + i not in reasons]
                answers = _spread(pool, lambda blob: decode(blob, target), [blobs[i - row] for i in rows])
                reasons.update((i, answer) for i, answer in zip(rows, answers, strict=True) if isinstance(answer, str))
                pixels = [answer for answer in answers if not isinstance(answer, str)]
                row += len(blobs)
                bar.update(len(blobs))
                if pixels:
                    block = np.stack(pixels)
                    yield block if want is None else image.convert(block, have, want)


def _spread(pool: ThreadPoolExecutor, read: Callable[[Blob], Answer], blobs: Sequence[Blob]) -> list[Answer | str]:
    """`read` of every blob, in order, or the reason why it cannot be read."""

    def read_some(start: int) -> list[Answer | str]:
        return [_try(read, blob) for blob in blobs[start : start + TASK_ITEMS]]

    return [answer for answers in pool.map(read_some, range(0, len(blobs), TASK_ITEMS)) for answer in answers]


def _try(read: Callable[[Blob], Answer], blob: Blob) -> Answer | str:
    try:
        return read(blob)
    except UnreadableError as unreadable:
        return str(unreadable)


def kept_deep(want: Spec) -> bool:
    """Whether 16 bits stay: by the run alone, so that an item is the same in any company."""
    return want.channels == 1 and want.dtype != "uint8"


def decoded_spec(shape: tuple[int, ...], *, deep: bool) -> Spec:
    """Of what comes out of a file."""
    return Spec("image", shape, "uint16", 0, 65535) if deep else Spec("image", shape, "uint8", 0, 255)


def _require_some(count: int, reasons: dict[int, str], found: Found) -> None:
    if len(reasons) < count:
        return
    first = min(reasons)
    name = printable(found.ids[first]) if found.ids is not None else str(first)
    what = "the only item cannot be read" if count == 1 else f"none of the {count:,} items can be read; the first"
    raise UserError(f"source: {what}, {name}: {printable(reasons[first])}")
