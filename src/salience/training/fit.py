"""fit and resume: a method and a source in, a run folder and a Representation out.

Nothing here loads torch: the options are checked and the source is opened first, so that most of what is refused is
refused at once, and Lightning is loaded for trainings alone.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from salience.allocator import keep_freed_memory
from salience.config import OPTIONS, Config, DataConfig, ModelConfig, TrainingConfig, asked, check_options
from salience.data import Dataset
from salience.errors import UserError
from salience.option import refuse_large
from salience.own_code import code_of, taken
from salience.processors import cap_threads
from salience.reading import AS_FOUND, Reading
from salience.run import Run, refuse_existing
from salience.training import timing
from salience.training.processes import is_helper
from salience.training.source import open_for_method

if TYPE_CHECKING:
    from torch import nn

    from salience.methods import ClosedForm, Method
    from salience.representation import Representation

P = ParamSpec("P")
R = TypeVar("R")


def lists_options(function: Callable[P, R]) -> Callable[P, R]:
    """Adds the options of `fit` to the docstring, from where they are declared."""
    lines = []
    for name, option in OPTIONS.items():
        choices = f" One of {', '.join(option.choices)}." if option.choices else ""
        lines.append(f"    {name}: {option.describe()}{choices}")
    function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *lines])
    return function


@lists_options
def fit(
    method: str | type[Method] | type[ClosedForm],
    source: Any,
    *,
    out: Path | str | None = None,
    epochs: int | None = None,
    budget: str | float | None = None,
    encoder: str | nn.Module | Callable[..., nn.Module] | None = None,
    views: str | Callable[..., Any] | None = None,
    resolution: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    init: Path | str | None = None,
    checkpoint_every: str | float = "2min",
    stop_when_collapsed: bool = False,
    devices: int = 1,
    logger: str | None = None,
    use_labels: bool = False,
    labels: Any = None,
    without: str | int | None = None,
    reading: Reading = AS_FOUND,
    precision: str = "auto",
    compile: bool | None = None,
    threads: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Representation:
    """Train a method on a source and save the run in a folder.

    Args:
        method: Name of a method ("pca", "simclr"), a Python file ("./mymethod.py") or a class.
        encoder: Name, module, or function that makes one.
        views: Name, or function (x, keys) -> x on the unit scale.
        source: Any source of `open_data`, or a Dataset. A dict of several sources joins them by id, or row by row.
        reading: How the source is read (see `Reading`). The run stores it.
        progress: Show a progress bar, and print what was decided.
        options: Hyperparameters of the method.

    Returns:
        The representation.

    Raises:
        UserError: An option or the source is not valid; the message names the remedy.
        Interrupted: Ctrl-C; the last checkpoint is kept, and `resume` continues from it.
    """
    given = {name: value for name, value in locals().items() if name in OPTIONS}
    started = timing.clock()
    keep_freed_memory()
    entry, code, given = taken(method, given)
    hyper_parameters = entry.check(options)
    checked = check_options(entry, given)
    training = asked(TrainingConfig, checked | _threads(checked["threads"]))
    check_machine(training)
    if out is not None and not is_helper():
        refuse_existing(Path(out))
    dataset = open_for_method(
        source, entry, checked["without"], resolution=checked["resolution"], labels=labels, reading=reading,
        progress=progress and not is_helper(),
    )  # fmt: skip
    if entry.at_most:
        width = dataset.spec.modality.width(dataset.spec)
        refuse_large(entry.at_most, hyper_parameters, rows=len(dataset), width=width)
    if training.devices > 1 and _lasting_name(source) is None:
        raise UserError(
            f"devices: {training.devices} processes cannot share data in memory; save the data and fit the file"
        )
    config = Config(
        salience=version("salience"),
        data=_describe(source, dataset, labels, reading, checked["without"]),
        model=asked(ModelConfig, checked, method=entry.name, options=hyper_parameters, code=code.to_dict()),
        training=training,
    )
    from salience.training.opened import fit_opened  # here: what is refused until now, is so without torch

    return fit_opened(config, dataset, out, started, progress, code)


def check_machine(training: TrainingConfig) -> None:
    """Raises UserError for what this machine or this installation cannot do."""
    if training.logger is not None:
        from salience.training import engine  # here: it loads Lightning, which closed forms do without

        engine.logger_class(training.logger)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1 and training.devices == 1:
        raise UserError(f"devices: 1, but a launcher started {started} processes; give --devices for them")
    if training.devices > 1:
        from salience.training import machine

        if training.devices > machine.devices():
            raise UserError(f"devices: {training.devices} is more than this machine has; at most {machine.devices()}")


def _threads(asked_for: int | None) -> dict[str, Any]:
    """The threads asked for, not more than the machine has."""
    return {} if asked_for is None else {"threads": cap_threads(asked_for)}


def resume(run: Path | str, source: Any = None, *, code: Any = None, progress: bool = True) -> Representation:
    """Resume an interrupted fit. The final weights are exactly those of an uninterrupted one.

    A finished run is not changed, except that damaged weights are written again from the last checkpoint.

    Args:
        run: Folder of the run.
        source: The data, required only if the run was fitted to data in memory.
        code: The file or the objects that the run needs in addition to Salience, as in `load`.
        progress: Show a progress bar.

    Returns:
        The representation.

    Raises:
        UserError: The data are missing or have changed, or another process trains the run.
    """
    folder = Run(run)
    found = code_of(folder.config, code)
    from salience.training.opened import resume_run

    return resume_run(folder, source, progress, found)


def _describe(source: Any, dataset: Dataset, labels: Any, reading: Reading, without: str | None) -> DataConfig:
    """What the run keeps of its source."""
    return DataConfig(
        source=_lasting_name(source),
        sources=_lasting_names(source),
        split=dataset.split,
        fingerprint=dataset.fingerprint,
        rows=len(dataset),
        classes=tuple(dataset.classes),
        resolution=dataset.spec.modality.resolution(dataset.spec),
        labels=str(labels) if isinstance(labels, str | os.PathLike) else None,
        without=without,
        reading=reading.over(dataset.reading),
        spec=dataset.spec.to_dict(),
    )


def _lasting_names(source: Any) -> dict[str, Any] | None:
    """The same of each of several sources; none of them where one is in memory. None for a single source."""
    if not isinstance(source, Mapping):
        return None
    names = {str(name): _lasting_name(one) for name, one in source.items()}
    return {} if None in names.values() else names


def _lasting_name(source: Any) -> str | None:
    """A name of the source that is right in every folder, of several the first's; None for data in memory."""
    if isinstance(source, Mapping):
        return next(iter((_lasting_names(source) or {}).values()), None)
    if not isinstance(source, str | os.PathLike):
        return None
    name = str(source)
    base, colon, split = name.rpartition(":")
    if Path(name).exists():
        return str(Path(name).resolve())
    return f"{Path(base).resolve()}:{split}" if colon and Path(base).exists() else name
