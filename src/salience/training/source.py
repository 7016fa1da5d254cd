"""The source of a fit, opened for its method."""

from __future__ import annotations

from typing import Any

from salience.catalogue import Entry
from salience.data import Dataset, open_data
from salience.errors import UserError


def open_for_method(source: Any, entry: Entry, without: str | None, **options: Any) -> Dataset:
    """The items to learn from. Raises UserError where they are none that the method can learn from.

    without: a class to leave out;  options: as `open_data` takes them
    """
    dataset = source if isinstance(source, Dataset) else open_data(source, **options)
    if without is not None:
        dataset = dataset.without(without)
    entry.refuse_unfit(dataset.name, dataset.spec)
    if options.get("resolution") is not None and dataset.spec.modality.resolution(dataset.spec) is None:
        raise UserError(f"resolution: {options['resolution']} was given, but {dataset.name} holds no images")
    if len(dataset) < 2:
        raise UserError(f"source: {dataset.name} has {len(dataset)} row, expected at least two")
    return dataset
