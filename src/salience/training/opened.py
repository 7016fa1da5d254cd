"""What follows once a source is open: a method is built, planned, trained or solved, and its run is written."""

from __future__ import annotations

import csv
import functools
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from salience import catalogue
from salience.allocator import keep_freed_memory
from salience.catalogue import Entry
from salience.config import Config
from salience.csv_text import escape_formula, is_formula, warn_about_escapes
from salience.data import Dataset
from salience.errors import UserError, naming
from salience.methods import ClosedForm, Method, method_class
from salience.own_code import Code
from salience.processors import free_cores, limited
from salience.progress import progress_bar
from salience.representation import Representation, load, make_method, options_of
from salience.run import Run, next_free
from salience.run_weights import DamagedWeights, load_checkpoint, save_weights, weights_match
from salience.training.closed_form import Rows
from salience.training.plan import make_plan
from salience.training.processes import is_helper, was_started_here
from salience.training.recipe import describe_data
from salience.training.sittings import Interrupted, training_alone
from salience.training.source import open_for_method
from salience.training.suit import suited
from salience.units import format_duration

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
def fit_opened(
    config: Config, dataset: Dataset, out: Path | str | None, started: float, progress: bool, code: Code
) -> Representation:
    """Builds the method, decides what was left open, and trains or solves."""
    say = _printer(progress)
    labelled = _whether_labelled(config.model.use_labels, code.entry(config.model.method), dataset)
    config = config.but(use_labels=labelled)
    for line in _about(config.model.method, dataset):
        say(line)
    config, module, dataset, why_views = _build(config, dataset, say, code)
    if isinstance(module, ClosedForm):
        run = _create(out, config, dataset)
        with training_alone(run):
            return _solve(run, module, dataset, progress, code, config.training.threads)
    initialise(module, config.training.init, code)
    if config.training.budget is not None:
        say("  measuring the time of a step")
    config, lines = make_plan(module, dataset, config, started=started, why_views=why_views)
    for line in lines:
        say(line)
    run = _create(out, config, dataset)
    say(f"  in {run.path}")
    with training_alone(run):
        return _finish(run, module, dataset, progress, say, code)


def _build(
    config: Config, dataset: Dataset, say: Say, code: Code
) -> tuple[Config, Method | ClosedForm, Dataset, str | None]:
    """The method with fresh weights, on data whose views suit it.

    -> the configuration with all hyper-parameters, the method, the data, and why other views were chosen
    """
    entry, asked_for = code.entry(config.model.method), config.model.options
    torch.manual_seed(config.training.seed)
    module = make_method(config, dataset.spec, code=code)
    known = dataset.spec.views
    dataset, why_views = suited(dataset, module, config.model.views)
    if dataset.spec.views != known:  # other views: built again, as if they had been given
        config = config.but(spec=dataset.spec.to_dict())
        torch.manual_seed(config.training.seed)
        module = make_method(config, dataset.spec, code=code)
    found = options_of(module, entry)
    withheld = tuple(sorted(module.withheld)) if isinstance(module, Method) else ()
    for option in entry.options:
        if option.default == catalogue.AUTO and asked_for.get(option.name, option.default) == catalogue.AUTO:
            say(f"  {option.name:<14} {found[option.name]!s:<12} from the data and what else was chosen")
    return config.but(options=found, withheld=withheld), module, dataset, why_views


@keeps_randomness
def resume_run(folder: Run, source: Any, progress: bool, code: Code) -> Representation:
    """What `resume` says, of an existing run."""
    keep_freed_memory()
    say = _printer(progress)
    finished, said = _finished(folder, code)
    if finished is None:
        with training_alone(folder):
            finished, said = _finished(folder, code)  # another process may have ended it meanwhile
            if finished is None:
                return _resume(folder, source, progress, say, said, code)
    say(said)
    return finished


def _finished(run: Run, code: Code) -> tuple[Representation | None, str]:
    """The representation of a finished run, None where its weights are missing or damaged; and what to tell of it."""
    if not run.finished:
        return None, ""
    try:
        rep = load(run.path, code=code)
    except DamagedWeights as damage:
        return None, f"{damage.reason}; they are written again"
    if not weights_match(run):
        return None, f"the weights in {run.path} do not belong to its last checkpoint; they are written again"
    return rep, f"{run.path} is finished; nothing to do"


def _resume(folder: Run, source: Any, progress: bool, say: Say, said: str, code: Code) -> Representation:
    """said: why weights that are there are made again"""
    config = folder.config
    data = config.data
    if source is None and data.source is None:
        raise UserError(f"run: {folder.path} was fitted to data in memory; resume it in Python: resume(run, source)")
    where = data.where if source is None else source
    dataset = open_for_method(
        where, code.entry(config.model.method), data.without, resolution=data.resolution, labels=data.labels,
        reading=data.reading, progress=progress and not is_helper(),
    )  # fmt: skip
    if dataset.fingerprint != data.fingerprint:
        raise UserError(f"source: {where} has changed since {folder.path} was begun; fit again")
    if said and not is_helper():
        say(said)
        folder.weights.unlink()  # helpers wait for the new ones
    torch.manual_seed(config.training.seed)
    begun = folder.checkpoint.exists()
    method = make_method(config, dataset.spec, fetch=not begun, code=code)
    if isinstance(method, ClosedForm):
        return _solve(folder, method, dataset, progress, code)
    initialise(method, None if begun else config.plan.init, code)
    if begun:
        load_checkpoint(method, folder)
    if progress and not is_helper():
        print(f"resumed at step {folder.step} of {config.plan.steps}", flush=True)
    return _finish(folder, method, dataset, progress, say, code)


def _whether_labelled(wished: bool, method: Entry, dataset: Dataset) -> bool:
    """Whether the method sees labels: where the user says so, or has chosen a method that learns from them."""
    needed = getattr(method_class(method), "needs_labels", False)
    if wished or needed:
        dataset.require_labels(method.name if needed else "use_labels")
    return wished or needed


def _about(method: str, dataset: Dataset) -> list[str]:
    return [f"{method} on {dataset.name}: {describe_data(dataset.spec, len(dataset))}"] + [
        f"  note: {note}" for note in dataset.notes
    ]


def initialise(method: Method, init: Path | str | None, code: Code | None = None) -> None:
    if init is None:
        return
    with naming("init", "run"):
        before = load(init, code=_for_other(code, init)).method
    if before.encoder is None:
        raise UserError(f"init: {init} has a closed form and no encoder; give a run trained by gradient")
    try:
        method.encoder.load_state_dict(before.encoder.state_dict())
    except RuntimeError:
        raise UserError(f"init: the encoder in {init} is of another shape; use the same --encoder and data") from None


def _for_other(code: Code | None, run: Path | str) -> Code | None:
    """The parts of this fit for another run that has the same; None where it has none, or others."""
    stored = Run(run).config.model.code
    if code is None or not all(code.to_dict().get(part) == record for part, record in stored.items()):
        return None
    return code


def _create(out: Path | str | None, config: Config, dataset: Dataset) -> Run:
    """The run folder. All processes but the first take the one the first has made."""
    stem = f"{config.model.method}-{Path(config.data.source or 'memory').name.replace(':', '-')}"
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


def _finish(run: Run, method: Method, dataset: Dataset, progress: bool, say: Say, code: Code) -> Representation:
    from salience.training.engine import train

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
        return load(run.path, code=code)
    run.require_held()
    save_weights(method, run.weights)
    say(f"done: {run.path}")
    return load(run.path, code=code)


def _solve(
    run: Run, method: ClosedForm, dataset: Dataset, progress: bool, code: Code, threads: int | None = None
) -> Representation:
    rows, free, say = Rows(dataset, method), free_cores(), _printer(progress)
    say(f"  {rows.describe()}")
    if threads is None and free.cores < free.of:
        say(f"  threads        {free.cores:<12} {free}")
    started = time.monotonic()
    count = threads or min(free.cores, torch.get_num_threads())
    with limited(count), progress_bar(None, "solving", progress and not is_helper(), ""):
        method.fit_rows(rows, seed=run.config.training.seed)
    seconds = time.monotonic() - started
    run.require_held()
    run.write_json("cost.json", {"flops": None, "seconds": round(seconds, 3), "items_seen": len(dataset)})
    save_weights(method, run.weights)
    say(f"done in {format_duration(seconds)}: {run.path}")
    return load(run.path, code=code)


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
