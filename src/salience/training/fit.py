"""fit: a method and a source in, a run folder and a Representation out."""

from __future__ import annotations

import csv
import functools
import io
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from salience import catalogue
from salience.allocator import keep_freed_memory
from salience.csv_text import escape_formula, is_formula, warn_about_escapes
from salience.data import Dataset, open_data
from salience.errors import UserError, naming
from salience.methods import ClosedForm, Method, method_class
from salience.processors import free_cores, limited
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, load, make_method, options_of
from salience.run import Run, next_free, refuse_existing
from salience.run_weights import DamagedWeights, load_checkpoint, save_weights, weights_match
from salience.training import budget as budgets
from salience.training.checkpoints import Interrupted, training_alone
from salience.training.closed_form import Rows
from salience.training.engine import train
from salience.training.plan import Wishes, make_plan
from salience.training.processes import is_helper, was_started_here
from salience.training.recipe import describe_data
from salience.training.suit import suited
from salience.units import check_flag, format_duration

Say = Callable[[str], None]
P = ParamSpec("P")
R = TypeVar("R")
WAIT = 60.0  # seconds a process waits for the first one to make the run folder


def keeps_randomness(function: Callable[P, R]) -> Callable[P, R]:
    """The caller's torch generator is as it was when the function has ended."""

    @functools.wraps(function)
    def kept(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.random.fork_rng(devices=[]):
            return function(*args, **kwargs)

    return kept


@keeps_randomness
def fit(
    method: str,
    source: Any,
    *,
    out: Path | str | None = None,
    epochs: int | None = None,
    budget: str | float | None = None,
    encoder: str | None = None,
    views: str | None = None,
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
    """Learns a representation and keeps it in a run folder.

    method: a file name under methods: "pca", "kmeans", "autoencoder", "simclr"
    source: anything `open_data` takes, or a Dataset
    out: the run folder; by default runs/METHOD-SOURCE-N
    epochs, budget: passes over the data, or the time there is ("10min"), start-up included; at most one of them
    encoder, views: by name;  resolution: images are brought to it, in pixels a side
    batch_size: rows a step on each device;  learning_rate: its peak
    init: a run whose encoder the training starts from
    stop_when_collapsed: raise Collapsed when all items have become alike, instead of a warning
    checkpoint_every: "2min";  devices: processes;  logger: a Lightning logger by name, beside metrics.csv
    use_labels: lets a method see the labels;  labels: the column that holds them, or as in `open_data`
    reading: how the source is read, as in `open_data`; kept in the run
    without: a class whose items are left out, to be found strange later; only scale and mean are still of all items
    precision: "auto", or Lightning's name;  compile: None decides by the length of the training
    threads: of the processor, in each process; None takes one for tiny networks, else the cores that others leave free
    options: the method's hyper-parameters
    Errors: UserError for whatever the user can mend. Ctrl-C raises Interrupted; what was done is kept.
    """
    started = budgets.clock()
    keep_freed_memory()
    entry = catalogue.find(method)
    options = entry.check(options)
    wishes = Wishes(
        epochs, budget, encoder, views, batch_size, learning_rate, init, logger, checkpoint_every, devices, precision,
        compile, threads, seed, started,
    ).checked(entry)  # fmt: skip
    use_labels = check_flag("use_labels", use_labels)
    stop_when_collapsed = check_flag("stop_when_collapsed", stop_when_collapsed)
    say = _printer(progress)
    if out is not None and not is_helper():
        refuse_existing(Path(out))
    shown = progress and not is_helper()
    without = None if without is None else str(without)
    dataset = _open(source, entry, without, resolution=resolution, labels=labels, reading=reading, progress=shown)
    use_labels = _whether_labelled(use_labels, method, dataset)
    if wishes.devices > 1 and not isinstance(source, str | os.PathLike):
        raise UserError(f"devices: {wishes.devices} processes cannot share data in memory; save it, and fit the file")
    for line in _about(method, dataset):
        say(line)
    config = {
        "salience": version("salience"),
        "method": method,
        **_provenance(source, dataset, labels),
        "reading": reading.over(dataset.reading).to_dict(),
        "without": without,
        "seed": wishes.seed,
        "options": options,
        "encoder": encoder,
        "views": views,
        "use_labels": use_labels,
        "stop_when_collapsed": stop_when_collapsed,
        "spec": dataset.spec.to_dict(),
    }
    torch.manual_seed(wishes.seed)
    module = make_method(config, dataset.spec)
    dataset, why_views = suited(dataset, module, views)
    if dataset.spec.views != config["spec"]["views"]:  # other views: built again, as if they had been given
        config["spec"] = dataset.spec.to_dict()
        torch.manual_seed(wishes.seed)
        module = make_method(config, dataset.spec)
    config["options"] = options_of(module, method)
    if isinstance(module, Method) and module.withheld:
        config["withheld"] = sorted(module.withheld)
    for option in entry.options:
        if option.default == catalogue.AUTO and options.get(option.name, option.default) == catalogue.AUTO:
            say(f"  {option.name:<14} {config['options'][option.name]!s:<12} from the data and what else was chosen")
    if isinstance(module, ClosedForm):
        run = _create(out, config, dataset)
        with training_alone(run):
            return _solve(run, module, dataset, progress, wishes.threads)
    initialise(module, init)
    if budget is not None:
        say("  measuring how long a step takes")
    planned, lines = make_plan(module, dataset, wishes, config, why_views)
    for line in lines:
        say(line)
    run = _create(out, config | planned, dataset)
    say(f"  in {run.path}")
    with training_alone(run):
        return _finish(run, module, dataset, progress, say)


@keeps_randomness
def resume(run: Path | str, source: Any = None, *, progress: bool = True) -> Representation:
    """Continues a fit that was stopped, to exactly the weights it would have had. Does nothing to a finished one.

    Weights that are damaged are made again, from the last checkpoint where there is one.
    source: needed only where the run was fitted to data in memory
    Errors: UserError where the data is gone or no longer what the run began with, or another process trains the run.
    """
    keep_freed_memory()
    folder, say = Run(run), _printer(progress)
    finished, said = _finished(folder)
    if finished is None:
        with training_alone(folder):
            finished, said = _finished(folder)  # another process may have ended it meanwhile
            if finished is None:
                return _resume(folder, source, progress, say, said)
    say(said)
    return finished


def _finished(run: Run) -> tuple[Representation | None, str]:
    """The representation of a finished run, None where its weights are missing or damaged; and what to tell of it."""
    if not run.finished:
        return None, ""
    try:
        rep = load(run.path)
    except DamagedWeights as damage:
        return None, f"{damage.reason}; they are made again"
    if not weights_match(run):
        return None, f"the weights in {run.path} are not those of its last checkpoint; they are made again"
    return rep, f"{run.path} is finished; nothing to do"


def _resume(folder: Run, source: Any, progress: bool, say: Say, said: str) -> Representation:
    """said: why weights that are there are made again"""
    config = folder.config
    if source is None and config["source"] is None:
        raise UserError(f"run: {folder.path} was fitted to data in memory; resume it in Python: resume(run, source)")
    entry = catalogue.find(config["method"])
    where = config["source"] if source is None else source
    dataset = _open(
        where, entry, config.get("without"), resolution=config["resolution"], labels=config["labels"],
        reading=Reading.of(config), progress=progress and not is_helper(),
    )  # fmt: skip
    if dataset.fingerprint != config["fingerprint"]:
        raise UserError(f"source: {where} has changed since {folder.path} was begun; fit again")
    if said and not is_helper():
        say(said)
        folder.weights.unlink()  # helpers wait for the new ones
    torch.manual_seed(config["seed"])
    begun = folder.checkpoint.exists()
    method = make_method(config, dataset.spec, fetch=not begun)
    if isinstance(method, ClosedForm):
        return _solve(folder, method, dataset, progress)
    initialise(method, None if begun else config["init"])
    if begun:
        load_checkpoint(method, folder)
    if progress and not is_helper():
        print(f"resumed at step {folder.step} of {config['steps']}", flush=True)
    return _finish(folder, method, dataset, progress, say)


def _open(source: Any, entry: catalogue.Entry, without: str | None, **options: Any) -> Dataset:
    dataset = source if isinstance(source, Dataset) else open_data(source, **options)
    if without is not None:
        dataset = dataset.without(without)
    entry.refuse_unfit(dataset.name, dataset.spec.modality)
    if options.get("resolution") is not None and dataset.spec.modality.resolution(dataset.spec) is None:
        raise UserError(f"resolution: {options['resolution']} was given, but {dataset.name} holds no images")
    if len(dataset) < 2:
        raise UserError(f"source: {dataset.name} has {len(dataset)} row, and nothing can be learnt from fewer than two")
    return dataset


def _whether_labelled(wished: bool, method: str, dataset: Dataset) -> bool:
    """Whether the method sees labels: where the user says so, or has chosen a method that learns from them."""
    needed = getattr(method_class(method), "needs_labels", False)
    if wished or needed:
        dataset.require_labels(method if needed else "use_labels")
    return wished or needed


def _provenance(source: Any, dataset: Dataset, labels: Any) -> dict[str, Any]:
    name = None
    if isinstance(source, str | os.PathLike):
        name = str(source)
        base, colon, split = name.rpartition(":")
        if Path(name).exists():
            name = str(Path(name).resolve())
        elif colon and Path(base).exists():
            name = f"{Path(base).resolve()}:{split}"
    return {
        "source": name,
        "split": dataset.split,
        "fingerprint": dataset.fingerprint,
        "rows": len(dataset),
        "classes": list(dataset.classes),
        "resolution": dataset.spec.modality.resolution(dataset.spec),
        "labels": str(labels) if isinstance(labels, str | os.PathLike) else None,
    }


def _about(method: str, dataset: Dataset) -> list[str]:
    return [f"{method} on {dataset.name}: {describe_data(dataset.spec, len(dataset))}"] + [
        f"  note: {note}" for note in dataset.notes
    ]


def initialise(method: Method, init: Path | str | None) -> None:
    if init is None:
        return
    with naming("init", "run"):
        before = load(init).method
    if isinstance(before, ClosedForm):
        raise UserError(f"init: {init} is a closed form and has no encoder; give a run that was trained")
    try:
        method.encoder.load_state_dict(before.encoder.state_dict())
    except RuntimeError:
        raise UserError(f"init: the encoder in {init} is of another shape; use the same --encoder and data") from None


def _create(out: Path | str | None, config: dict[str, Any], dataset: Dataset) -> Run:
    """The run folder. All processes but the first take the one the first has made."""
    stem = f"{config['method']}-{Path(config['source'] or 'memory').name.replace(':', '-')}"
    path = next_free(Path("runs"), stem) if out is None else Path(out)
    if is_helper():
        _await(path)
        return Run(path)
    bad, cells = io.StringIO(), [text for item in dataset.bad for text in (item.id, item.reason)]
    csv.writer(bad).writerows(
        [("item", "reason"), *((escape_formula(item.id), escape_formula(item.reason)) for item in dataset.bad)]
    )
    while True:
        try:
            run = Run.create(path, config, {"bad_items.csv": bad.getvalue()})
            break
        except UserError:
            if out is not None:
                raise
            path = next_free(path.parent, stem)  # another fit was quicker
    warn_about_escapes(sum(map(is_formula, cells)), str(run.path / "bad_items.csv"))
    return run


def _finish(run: Run, method: Method, dataset: Dataset, progress: bool, say: Say) -> Representation:
    try:
        train(run, method, dataset, progress=progress and not is_helper())
    except (Interrupted, UserError):
        if was_started_here():
            sys.exit(1)  # the first process says it
        raise
    if was_started_here():
        sys.exit(0)
    if is_helper():
        _await(run.weights)
        return load(run.path)
    run.require_held()
    save_weights(method, run.weights)
    say(f"done: {run.path}")
    return load(run.path)


def _solve(
    run: Run, method: ClosedForm, dataset: Dataset, progress: bool, threads: int | None = None
) -> Representation:
    rows, free, say = Rows(dataset, method), free_cores(), _printer(progress)
    say(f"  {rows.describe()}")
    if threads is None and free.cores < free.of:
        say(f"  threads        {free.cores:<12} {free}")
    started = time.monotonic()
    count = threads or min(free.cores, torch.get_num_threads())
    with limited(count), progress_bar(None, "solving", progress and not is_helper(), ""):
        method.fit_rows(rows, seed=run.config["seed"])
    seconds = time.monotonic() - started
    run.require_held()
    run.write_json("cost.json", {"flops": None, "seconds": round(seconds, 3), "items_seen": len(dataset)})
    save_weights(method, run.weights)
    say(f"done in {format_duration(seconds)}: {run.path}")
    return load(run.path)


def _await(path: Path) -> None:
    """Until the first process has made `path`."""
    for _ in range(round(WAIT / 0.1)):
        if path.exists():
            return
        time.sleep(0.1)
    raise UserError(f"out: {path} was not made by the first process; give all processes the same --out")


def _printer(progress: bool) -> Say:
    heard = progress and not is_helper()
    return (lambda line: print(line, file=sys.stderr, flush=True)) if heard else (lambda line: None)
