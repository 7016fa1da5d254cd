"""Open any supported source as a dataset."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from salience.data.cache import cache_folder
from salience.data.dataset import Dataset, describe_bad_items
from salience.data.join import join
from salience.data.prepare import prepare
from salience.data.sources import find_source, refuse_unused
from salience.data.sources.query import Query
from salience.errors import UserError, naming
from salience.fields.build_options import Options
from salience.modalities import Spec
from salience.reading import AS_FOUND, DEFAULT_ASPECT, Reading
from salience.units import MAX_RESOLUTION, check_whole


def open_data(
    source: Any,
    *,
    split: str | None = None,
    resolution: int | None = None,
    labels: Any = None,
    groups: Any = None,
    spec: Spec | None = None,
    reading: Reading = AS_FOUND,
    cache: Path | str | None = None,
    progress: bool = True,
) -> Dataset:
    """Open a source, and prepare it in the cache if that has not been done yet.

    Args:
        source: A built-in name (digits, fashion-mnist, cifar10); a folder of images, flat or one folder per class; a
            file (.npy .npz .parquet .csv .arrow .feather .ts, IDX, one image); hf://owner/name; an array or tensor
            [n h w], [n c h w], [n h w c] or [n columns], or [n channels time] with `Reading(kind="series")`; a list of
            series of different lengths; a DataFrame; a Hugging Face Dataset. SOURCE:split names a split. A dict of
            several sources, {"image": ..., "text": ...}, joins them by id or row by row.
        split: The split to open, such as "test". Default: the split named by the source, otherwise "train".
        resolution: Height and width of the stored images, in pixels. Default: their own size if all are equal and
            small, otherwise a size near the median.
        labels: The name of the label column; for arrays also the labels [n], or a .npy file of them; for a folder of
            images a CSV file with the columns item,label.
        groups: The column, array [n] or .npy file that tells which items belong together (patient, video, writer);
            for a folder of images a regular expression, whose first group in the relative path is the group.
        spec: The spec of a run; the data are converted to fit it.
        reading: Options for what cannot be inferred from the source: `Reading(folders="flat", aspect="pad")`.
        cache: Folder for prepared data and downloads. Default: SALIENCE_CACHE, otherwise ~/.cache/salience.
        progress: Show a progress bar and print which items were left out.

    Returns:
        The dataset; its `notes` describe what was inferred.

    Raises:
        UserError: The source does not exist, cannot be read, or does not fit `spec`.
    """
    if isinstance(source, Mapping) and not _has_splits(source):
        return _joined(
            source,
            spec,
            {
                "split": split,
                "resolution": resolution,
                "labels": labels,
                "groups": groups,
                "reading": reading,
                "cache": cache,
                "progress": progress,
            },
        )
    if isinstance(source, Dataset):
        raise UserError("source: expected a path, an array or a table, got an open Dataset; use it directly")
    if resolution is not None:
        resolution = check_whole("resolution", resolution, 1, MAX_RESOLUTION)
    folder = cache_folder(cache)
    kind = reading.kind if spec is None else spec.modality.name
    query = Query(split, labels, groups, folder, progress, reading, of_run=spec is not None, kind=kind)
    found = find_source(source, query)
    if spec is None:  # the reading of a run may apply to another kind of source
        refuse_unused(source, query)
    kind = reading.kind if spec is None else spec.modality.name
    aspect = reading.aspect or DEFAULT_ASPECT
    options = Options(resolution if spec is None else None, spec, progress, aspect, kind, reading)
    prepared = prepare(found, options, folder)
    dataset = replace(prepared, reading=reading.over(prepared.reading))
    if progress and dataset.bad:
        print(describe_bad_items(dataset.bad, len(dataset)), file=sys.stderr)
    return dataset


def _has_splits(source: Any) -> bool:
    """Whether a mapping is a Hugging Face DatasetDict, whose names are splits and not sources."""
    return type(source).__module__.split(".")[0] == "datasets"


def _joined(sources: Mapping[str, Any], spec: Any, options: dict[str, Any]) -> Dataset:
    """Open several sources and join them. `labels`, `groups` and `split` apply to the first source only."""
    specs = dict(spec.parts) if spec is not None else {}
    opened = {}
    for number, (name, source) in enumerate(sources.items()):
        own = options if number == 0 else {**options, "labels": None, "groups": None, "split": None}
        with naming(name, "source"):
            opened[name] = source if isinstance(source, Dataset) else open_data(source, spec=specs.get(name), **own)
    return join(opened)
