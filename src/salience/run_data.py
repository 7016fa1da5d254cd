"""Opening data as a run expects them: its resolution, channels and columns. Its configuration is enough."""

from __future__ import annotations

from typing import Any

from salience.config import Config
from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.modalities import Spec
from salience.reading import AS_FOUND, Reading


def spec_of(config: Config) -> Spec:
    """Return the spec of the items that a run was fitted to."""
    return Spec.from_dict(config.data.spec)


def open_fitting(config: Config, spec: Spec, source: Any, *, reading: Reading = AS_FOUND, **options: Any) -> Dataset:
    """Open a source as a run expects it.

    Args:
        config: The configuration of the run.
        spec: The spec of the run.
        source: Anything that `open_data` takes, or a Dataset.
        reading: How the source is read; what it leaves open is as when the run was trained.
        options: Further options of `open_data`.

    Raises:
        UserError: The source cannot be read, or does not fit the run.
    """
    if isinstance(source, Dataset):
        return matching(source, spec)
    return open_data(source, spec=spec, reading=reading.over(config.data.reading), **options)


def open_labelled(
    config: Config,
    spec: Spec,
    source: Any,
    labels: str | None,
    reading: Reading = AS_FOUND,
    **options: Any,
) -> Dataset:
    """Open a source as a run expects it, with the labels of a column.

    Args:
        config: The configuration of the run.
        spec: The spec of the run.
        source: Anything that `open_data` takes, or a Dataset.
        labels: The column. Default: the one the run was told of, if the source has it.
        reading: How the source is read; what it leaves open is as when the run was trained.
        options: Further options of `open_data`.

    Raises:
        UserError: The source cannot be read, does not fit the run, or has no such column.
    """
    if isinstance(source, Dataset):
        return matching(source, spec)
    if labels is not None:
        if labels in spec.modality.columns(spec):
            raise UserError(
                f"labels: the run was fitted to column '{labels}'; name another column, or fit without this one"
            )
        return open_fitting(config, spec, source, labels=labels, reading=reading, **options)
    try:
        return open_fitting(config, spec, source, labels=config.data.labels, reading=reading, **options)
    except UserError:  # a table without the column of the run's labels is unlabelled, and measured as such
        return open_fitting(config, spec, source, reading=reading, **options)


def matching(dataset: Dataset, spec: Spec) -> Dataset:
    """Return the dataset if what it stores is what `spec` describes; its own statistics do not matter."""
    if dataset.spec.form != spec.form:
        has, needs = ("×".join(map(str, s.shape)) for s in (dataset.spec, spec))
        raise UserError(
            f"source: {dataset.name} holds {dataset.spec.modality.name} items of {has}, the run needs "
            f"{spec.modality.name} items of {needs} with the same values or columns; "
            "open it with open_data(source, spec=representation.spec)"
        )
    return dataset
