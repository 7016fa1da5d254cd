"""Conversion of encoded images to stored rows: read every header, choose one format for all, decode in threads.

An image that cannot be read is left out, with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from salience.errors import UserError
from salience.fields.build_options import Built, Options
from salience.fields.content import Encoded, Found
from salience.fields.row_writer import BLOCK_BYTES, store
from salience.modalities.image import conversion as image
from salience.modalities.image.decode import Blob, Target, UnreadableError, decode, measure_opacity, probe
from salience.modalities.image.headers import ignore_pil_warnings
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.transparency import survey
from salience.processors import cores
from salience.progress import progress_bar
from salience.units import counted, printable

TASK_ITEMS = 64
FIELDS = ("width", "height", "colour", "deep", "alpha", "several")  # of a header, as columns
WIDTH, _, COLOUR, _, ALPHA, SEVERAL = range(len(FIELDS))
Answer = TypeVar("Answer")


def build_encoded(encoded: Encoded, found: Found, options: Options, path: Path | None) -> Built:
    """Decode encoded images to stored rows. Raises UserError if no item can be read."""
    want, reasons = options.spec, dict[int, str]()
    with ThreadPoolExecutor(cores()) as pool, ignore_pil_warnings():
        headers = _probe_all(encoded, reasons, pool, options.progress)
        _require_some(encoded.count, reasons, found)
        target, shape, notes = _format(headers[headers[:, WIDTH] > 0], options)
        ground, ground_notes = _ground(encoded, found, headers, want, pool)
        target = replace(target, ground=ground)
        dtype = np.dtype(want.dtype if want else "uint16" if target.deep else "uint8")
        blocks = _decode_all(encoded, target, want, reasons, pool, options.progress)
        x, scan = store(blocks, encoded.count - len(reasons), shape, dtype, path)
    _require_some(encoded.count, reasons, found)
    kept = np.delete(np.arange(encoded.count), list(reasons)) if reasons else None
    spec = want or image.make_spec(
        shape, dtype.name, scan.moments, full_scale=not target.deep, views=found.views, ground=ground
    )
    bad = tuple(sorted(reasons.items()))
    notes += ground_notes + _several_note(headers, found)
    return Built(x, spec, scan.count, encoded.count, scan.fingerprint, kept, bad, notes)


def _format(headers: np.ndarray, options: Options) -> tuple[Target, tuple[int, ...], tuple[str, ...]]:
    """Return the format to decode to, the shape to store, and notes.  headers: [n 6] of the readable items"""
    want = options.spec
    if want is None:
        target, notes = image.choose_target(headers, options.resolution, options.aspect)
        return target, (target.channels, target.resolution, target.resolution), notes
    image.check_convertible(3, want)
    target = Target(want.channels, want.resolution, keeps_16_bits(want), options.aspect)
    channels = np.where(headers[:, COLOUR], 3, 1)
    return target, want.shape, image.describe_conversion(headers[:, :COLOUR], channels, want, options.aspect)


def _ground(
    encoded: Encoded, found: Found, headers: np.ndarray, want: ImageSpec | None, pool: ThreadPoolExecutor
) -> tuple[str, tuple[str, ...]]:
    """Return the background of transparent pixels, from the run or as suits the images, and notes."""
    candidates = np.flatnonzero(headers[:, ALPHA])
    seen = survey(candidates, encoded.chunks, lambda some: _map_in_threads(pool, measure_opacity, some))
    ground = want.ground if want else seen.ground
    return ground, seen.notes(ground, lambda row: _name(found, row))


def _several_note(headers: np.ndarray, found: Found) -> tuple[str, ...]:
    rows = np.flatnonzero(headers[:, SEVERAL])
    if not len(rows):
        return ()
    have = "has" if len(rows) == 1 else "have"
    name = _name(found, rows[0])
    return (
        f"{counted(len(rows), 'image')} {have} several pages or frames, such as {name}: only the first is read; "
        "save the others as separate files to read them too",
    )


def _probe_all(encoded: Encoded, reasons: dict[int, str], pool: ThreadPoolExecutor, progress: bool) -> np.ndarray:
    """Read all headers, [count 6] int: width, height, colour, deep, alpha, several; zeros for unreadable items."""
    headers = np.zeros((encoded.count, 6), dtype=np.int64)
    row = 0
    with progress_bar(encoded.count, "reading headers", progress) as bar:
        for chunk in encoded.chunks():
            for answer in _map_in_threads(pool, probe, chunk):
                if isinstance(answer, str):
                    reasons[row] = answer
                else:
                    headers[row] = [int(getattr(answer, field)) for field in FIELDS]
                row += 1
            bar.update(len(chunk))
    return headers


def _decode_all(
    encoded: Encoded,
    target: Target,
    want: ImageSpec | None,
    reasons: dict[int, str],
    pool: ThreadPoolExecutor,
    progress: bool,
) -> Iterator[np.ndarray]:
    """Iterate over blocks [n c h w] of the readable items, in order; failures are added to `reasons`."""
    have = make_decoded_spec((target.channels, target.resolution, target.resolution), deep=target.deep)
    item_bytes = target.channels * target.resolution**2 * (2 if target.deep else 1)
    step = max(TASK_ITEMS, BLOCK_BYTES // item_bytes)
    row = 0
    with progress_bar(encoded.count, "decoding", progress) as bar:
        for chunk in encoded.chunks():
            for start in range(0, len(chunk), step):
                blobs = chunk[start : start + step]
                rows = [row + i for i in range(len(blobs)) if row + i not in reasons]
                answers = _map_in_threads(pool, lambda blob: decode(blob, target), [blobs[i - row] for i in rows])
                reasons.update((i, answer) for i, answer in zip(rows, answers, strict=True) if isinstance(answer, str))
                pixels = [answer for answer in answers if not isinstance(answer, str)]
                row += len(blobs)
                bar.update(len(blobs))
                if pixels:
                    block = np.stack(pixels)
                    yield block if want is None else image.convert(block, have, want)


def _map_in_threads(
    pool: ThreadPoolExecutor, read: Callable[[Blob], Answer], blobs: Sequence[Blob]
) -> list[Answer | str]:
    """Apply `read` to every blob in threads, in order. The result of an unreadable one is the reason."""

    def read_some(start: int) -> list[Answer | str]:
        return [_try(read, blob) for blob in blobs[start : start + TASK_ITEMS]]

    return [answer for answers in pool.map(read_some, range(0, len(blobs), TASK_ITEMS)) for answer in answers]


def _try(read: Callable[[Blob], Answer], blob: Blob) -> Answer | str:
    try:
        return read(blob)
    except UnreadableError as unreadable:
        return str(unreadable)


def keeps_16_bits(want: ImageSpec) -> bool:
    """Return whether a run stores 16 bits; it does not depend on other items, so that each item is always the same."""
    return want.channels == 1 and want.dtype != "uint8"


def make_decoded_spec(shape: tuple[int, ...], *, deep: bool) -> ImageSpec:
    """Make the spec of decoded images."""
    return ImageSpec(shape, "uint16", 0, 65535) if deep else ImageSpec(shape, "uint8", 0, 255)


def _require_some(count: int, reasons: dict[int, str], found: Found) -> None:
    if len(reasons) < count:
        return
    first = min(reasons)
    name = _name(found, first)
    what = "the only item cannot be read" if count == 1 else f"none of the {count:,} items can be read; the first"
    raise UserError(f"source: {what}, {name}: {printable(reasons[first])}")


def _name(found: Found, row: int) -> str:
    return printable(found.ids[row]) if found.ids is not None else str(row)
