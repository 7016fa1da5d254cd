"""Images at their own sizes, for what makes new ones of them: nothing is resized, prepared or kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from salience.data.cache import cache_folder
from salience.data.dataset import BadItem, Dataset, describe_bad_items
from salience.data.sources import find_source
from salience.data.sources.query import Query
from salience.errors import UserError
from salience.fields.blocks import refuse_not_finite
from salience.fields.content import Encoded
from salience.fields.ids import Ids
from salience.fields.source import Source
from salience.modalities.image import conversion as image
from salience.modalities.image.decode import Blob, UnreadableError, decode_whole, probe
from salience.modalities.image.encoded import keeps_16_bits, make_decoded_spec
from salience.modalities.image.headers import ignore_pil_warnings
from salience.modalities.image.image_builder import make_conversion, refuse_ambiguous_image
from salience.modalities.image.spec import ImageSpec
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.units import counted, printable


@dataclass(frozen=True)
class Originals:
    """n images.

    name, split: where they come from;  spec: their channels, type and scale; its height and width are not theirs
    ids: of each;  sizes: [n 2], height and width of each;  read: gives them in order, [c h w], each time it is called
    bad: items that cannot be read and are left out;  notes: what is done to the others
    """

    name: str
    split: str
    spec: ImageSpec
    ids: Sequence[str]
    sizes: np.ndarray
    read: Callable[[], Iterator[np.ndarray]]
    bad: tuple[BadItem, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def alike(self) -> bool:
        """Whether all have one size."""
        return bool((self.sizes == self.sizes[:1]).all())


def open_originals(source: Any, spec: ImageSpec, *, reading: Reading = AS_FOUND, progress: bool = True) -> Originals:
    """The images of a source at their own sizes, for a run.

    source: anything `open_data` takes;  spec: of the run;  reading: how the source is read
    Raises UserError as `open_data`, and where the source holds no images.
    """
    found = find_source(source, Query(cache=cache_folder(None), progress=progress, reading=reading))
    originals = _found(found, spec, progress)
    if progress and originals.bad:
        print(describe_bad_items(originals.bad, len(originals)), file=sys.stderr)
    return originals


def _found(source: Source, want: ImageSpec, progress: bool) -> Originals:
    found = source.read()
    if isinstance(found.content, Encoded):
        return _decoded(source, found.content, found.ids, want, progress)
    if not isinstance(found.content, np.ndarray) or found.content.ndim < 3:
        raise UserError(f"source: expected images, got table data in {source.name}; give images")
    refuse_ambiguous_image(found.content.shape, want)
    images = image.as_images(found.content)
    ids = found.ids if found.ids is not None else Ids(len(images))
    as_wanted = replace(want, shape=(want.channels, *images.shape[2:]))
    plan = make_conversion(images, as_wanted, "stretch")  # nothing is resized: each keeps its own height and width

    def read() -> Iterator[np.ndarray]:
        for row in range(len(images)):
            refuse_not_finite(images[row : row + 1], row)
            yield plan.convert(images[row : row + 1])[0]

    sizes = np.tile(images.shape[2:], (len(images), 1))
    notes = image.describe_channels(np.array([images.shape[1]]), want)
    return Originals(source.name, source.split, want, ids, sizes, read, notes=notes)


def originals_in(dataset: Dataset) -> Originals:
    """What was opened already, as it is stored."""

    def read() -> Iterator[np.ndarray]:
        return map(dataset.item, range(len(dataset)))

    sizes = np.tile(dataset.spec.shape[1:], (len(dataset), 1))
    return Originals(dataset.name, dataset.split, cast(ImageSpec, dataset.spec), dataset.ids, sizes, read)


def _decoded(source: Source, encoded: Encoded, ids: Ids | None, want: ImageSpec, progress: bool) -> Originals:
    """Every item is decoded once to know whether it can be, and how large it is, and again when it is asked for."""
    image.check_convertible(3, want)
    deep = keeps_16_bits(want)
    names = ids if ids is not None else Ids(encoded.count)

    def read_whole(blob: Blob) -> np.ndarray:
        with ignore_pil_warnings():
            return decode_whole(blob, want.channels, deep=deep, ground=want.ground)

    sizes, channels, bad = [], [], dict[int, BadItem]()
    with progress_bar(encoded.count, "checking images", progress) as bar:
        for row, blob in enumerate(_blobs(encoded)):
            try:
                sizes.append(read_whole(blob).shape[1:])
                with ignore_pil_warnings():
                    channels.append(3 if probe(blob).colour else 1)
            except UnreadableError as unreadable:
                bad[row] = BadItem(names[row], str(unreadable))
            bar.update(1)
    if not sizes:
        first = bad[min(bad)]
        none = f"none of {counted(encoded.count, 'item')} can be read; the first"
        raise UserError(f"source: {none}, {printable(first.id)}: {printable(first.reason)}")

    def read() -> Iterator[np.ndarray]:
        for row, blob in enumerate(_blobs(encoded)):
            if row not in bad:
                pixels = read_whole(blob)
                have, as_wanted = make_decoded_spec(pixels.shape, deep=deep), replace(want, shape=pixels.shape)
                yield image.convert(pixels[None], have, as_wanted)[0]

    kept = names.subset(np.delete(np.arange(encoded.count), list(bad)))
    notes = image.describe_channels(np.array(channels), want)
    return Originals(source.name, source.split, want, kept, np.array(sizes), read, tuple(bad.values()), notes)


def _blobs(encoded: Encoded) -> Iterator[Blob]:
    for chunk in encoded.chunks():
        yield from chunk
