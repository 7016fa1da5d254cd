"""Preparation of a source: its items are stored in the cache once, and opened from there the next time."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from salience.data.cache import Checksum, is_sealed, is_whole, prepared_folder, remove_others, seal
from salience.data.dataset import BadItem, Dataset
from salience.fields.build_options import Built, Options
from salience.fields.content import Found
from salience.fields.ids import Ids
from salience.fields.row_writer import before_rows
from salience.fields.source import Source, mark_of
from salience.fields.stored_items import Stored, read, write
from salience.modalities import Spec
from salience.reading import Reading

FORMAT = 2


def prepare(source: Source, options: Options, cache: Path) -> Dataset:
    """Return the dataset of a source, from the cache if the source is unchanged, otherwise prepared and cached.

    Data in memory stay in memory.
    """
    place = None if source.mark is None else _place(source, options, cache)
    if place and (kept := _load(place, source)):
        return kept
    from salience.data.build import build  # imported here, because opening prepared data does not need it

    found = source.read()
    with prepared_folder(place) if place else nullcontext() as folder:
        built = build(found, options, folder)
        found = built.parts or found
        if folder is None:
            assert built.x is not None
            return _dataset(source, found, built, built.x)
        _write(folder, source, found, built)
    assert place is not None
    remove_others(place)
    fresh = _load(place, source)
    assert fresh is not None, place
    return fresh


def _place(source: Source, options: Options, cache: Path) -> Path:
    spec = None if options.spec is None else options.spec.to_dict()
    aspect = [] if options.aspect == "stretch" else [options.aspect]  # older prepared data have no aspect
    kind = [] if options.kind is None or spec is not None else [f"kind {options.kind}"]
    cut = [text for text in (options.reading.tokenizer, options.reading.window, options.reading.hop) if text]
    what = mark_of([source.location, source.split, options.resolution, json.dumps(spec), *aspect, *kind, *cut])
    state = mark_of([FORMAT, source.mark])
    return cache / "prepared" / f"{what[:16]}-{state[:16]}"


def _dataset(source: Source, found: Found, built: Built, x: Stored) -> Dataset:
    kept, ids = built.kept, found.ids if found.ids is not None else Ids(built.total)
    labels, groups = (v if v is None or kept is None else v[kept] for v in (found.labels, found.groups))
    return Dataset(
        name=source.name,
        split=source.split,
        spec=built.spec,
        stored=x,
        labels=labels,
        classes=found.classes,
        ids=built.ids or (ids if kept is None else ids.subset(kept)),
        fingerprint=built.fingerprint,
        bad=tuple(BadItem(ids[row], reason) for row, reason in built.bad),
        groups=groups if built.groups is None else built.groups,
        notes=found.notes + built.notes,
        splits=source.splits or found.splits,
        reading=built.reading.over(found.reading),
    )


def _write(folder: Path, source: Source, found: Found, built: Built) -> None:
    """Write all files except x.bin, which `build` has written."""
    dataset = _dataset(source, found, built, np.empty(0))
    ids, kept = (found.ids, built.kept) if built.ids is None else (built.ids, None)
    for name, values in (("labels", dataset.labels), ("groups", dataset.groups), ("kept", kept)):
        if values is not None:
            np.save(folder / f"{name}.npy", values)
    if ids is not None and ids.text is not None and ids.offsets is not None:
        ids.text.tofile(folder / "ids.bin")
        np.save(folder / "ids.npy", ids.offsets)
    manifest = {
        "format": FORMAT,
        "spec": built.spec.to_dict(),
        "rows": built.rows,
        "total": built.total if built.ids is None else built.rows,
        "in_place": isinstance(built.x, np.ndarray),
        "fields": [] if built.x is None or isinstance(built.x, np.ndarray) else write(built.x, folder),
        "classes": dataset.classes,
        "bad": [[item.id, item.reason] for item in dataset.bad],
        "notes": dataset.notes,
        "splits": dataset.splits,
        "reading": dataset.reading.to_dict(),
        "fingerprint": dataset.fingerprint,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    seal(folder, _checksums(manifest), written=True)


def _checksums(manifest: dict[str, Any]) -> dict[str, Checksum]:
    """Return the checksum of x.bin, which is its fingerprint."""
    if manifest["in_place"] or manifest.get("fields"):
        return {}
    spec = Spec.from_dict(manifest["spec"])
    return {"x.bin": Checksum(manifest["fingerprint"], before_rows(spec.shape, np.dtype(spec.dtype)))}


def _load(place: Path, source: Source) -> Dataset | None:
    """Load prepared data. Return None if there are none, or if they are damaged; damaged data are deleted."""
    if not place.is_dir():
        return None
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        if not is_sealed(place):  # prepared by a version without seals
            with suppress(OSError):  # a read-only cache
                seal(place, _checksums(manifest), written=False)
        if is_sealed(place) and not is_whole(place):
            raise ValueError(f"{place} is damaged")
        return _assemble(place, source, manifest)
    except Exception:  # numpy and json can raise any exception for damaged files; other errors recur in `build`
        shutil.rmtree(place, ignore_errors=True)
        return None


def _assemble(place: Path, source: Source, manifest: dict[str, Any]) -> Dataset:
    def field(name: str, count: int) -> np.ndarray | None:
        path = place / f"{name}.npy"
        values = np.load(path, allow_pickle=False) if path.exists() else None
        if values is not None and values.shape != (count,):
            raise ValueError(f"{path} is damaged")
        return values

    rows, total = manifest["rows"], manifest["total"]
    spec, kept, offsets = Spec.from_dict(manifest["spec"]), field("kept", rows), field("ids", total + 1)
    text = None if offsets is None else _mapped(place / "ids.bin", np.dtype(np.uint8), (int(offsets[-1]),))
    x: Stored
    if manifest["in_place"]:
        x = in_place(source, spec)
        if x.shape != (rows, *spec.shape):
            raise ValueError(f"{source.location} has changed")
    elif manifest.get("fields"):
        x = read(place, manifest["fields"])
    else:
        x = _mapped(place / "x.bin", np.dtype(spec.dtype), (rows, *spec.shape))
    return Dataset(
        name=source.name,
        split=source.split,
        spec=spec,
        stored=x,
        labels=field("labels", rows),
        classes=tuple(manifest["classes"]),
        ids=Ids(total, text, offsets, kept),
        fingerprint=manifest["fingerprint"],
        bad=tuple(BadItem(*item) for item in manifest["bad"]),
        groups=field("groups", rows),
        notes=tuple(manifest["notes"]),
        splits=source.splits or tuple(manifest.get("splits", ())),
        reading=Reading(**manifest.get("reading", {})),  # older prepared data have no reading
    )


def in_place(source: Source, spec: Spec) -> np.ndarray:
    """Return the array of a source whose file is memory-mapped without a copy."""
    content = source.read().content
    assert isinstance(content, np.ndarray)
    return spec.modality.in_place(content)


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if path.stat().st_size != int(np.prod(shape)) * dtype.itemsize:
        raise ValueError(f"{path} is damaged")
    return np.memmap(path, dtype=dtype, mode="r", shape=shape) if np.prod(shape) else np.empty(shape, dtype)
