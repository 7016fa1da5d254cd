"""fit: a method and a source in, a run folder and a Representation out."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from salience import catalogue
from salience.allocator import keep_freed_memory
from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.methods import ClosedForm, Method
from salience.representation import Representation, load, make_method, options_of, save_weights
from salience.run import Run, next_free, refuse_existing
from salience.training import machine, recipe
from salience.training.closed_form import Rows
from salience.training.cost import step_flops
from salience.training.engine import seconds_per_step, train
from salience.training.processes import is_helper
from salience.units import format_duration, parse_duration
from salience.views import default_policy

Say = Callable[[str], None]
BUDGET_SHARE = 0.95  # of the time left, so that saving fits into it too


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
    devices: int = 1,
    logger: str | None = None,
    use_labels: bool = False,
    labels: str | None = None,
    precision: str = "auto",
    compile: bool | None = None,
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
    checkpoint_every: "2min";  devices: processes;  logger: a Lightning logger by name, beside metrics.csv
    use_labels: lets a method see the labels;  labels: the column that holds them
    precision: "auto", or Lightning's name;  compile: None decides by the length of the training
    options: the method's hyper-parameters
    Errors: UserError for whatever the user can mend. Ctrl-C raises Interrupted; what was done is kept.
    """
    started = time.monotonic()
    keep_freed_memory()
    parse_duration(checkpoint_every, "--checkpoint-every")
    entry = catalogue.find(method)
    options = entry.check(options)
    wishes = {
        "epochs": epochs,
        "budget": budget,
        "encoder": encoder,
        "views": views,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "init": init,
        "logger": logger,
    }
    _check(entry, wishes)
    say = _printer(progress)
    path = _run_path(out, method, source)
    dataset = _open(source, entry, resolution=resolution, labels=labels, progress=progress)
    if use_labels:
        dataset.require_labels("--use-labels")
    if devices > 1 and not isinstance(source, str | os.PathLike):
        raise UserError(f"devices: {devices} processes cannot share data in memory; save it, and fit the file")
    config = {
        "salience": version("salience"),
        "method": method,
        **_provenance(source, dataset, labels),
        "seed": seed,
        "options": options,
        "use_labels": use_labels,
        "spec": dataset.spec.to_dict(),
    }
    for line in _about(config, dataset):
        say(line)
    if entry.kind == "ClosedForm":
        return _solve(config, dataset, path, say)
    settings = {
        "checkpoint_every": str(checkpoint_every),
        "devices": devices,
        "logger": logger,
        "precision": precision,
        "compile": compile,
    }
    return _learn(config, wishes, settings, dataset, path, started, progress, say)


def resume(run: Path | str, source: Any = None, *, progress: bool = True) -> Representation:
    """Continues a fit that was stopped, to exactly the weights it would have had. Does nothing to a finished one.

    source: needed only where the run was fitted to data in memory
    Errors: UserError where the data is gone or no longer what the run began with.
    """
    keep_freed_memory()
    folder, say = Run(run), _printer(progress)
    if folder.finished:
        say(f"{folder.path} is finished; nothing to do")
        return load(folder.path)
    config = folder.config
    if source is None and config["source"] is None:
        raise UserError(f"RUN: {folder.path} was fitted to data in memory; resume it in Python: resume(run, source)")
    entry = catalogue.find(config["method"])
    where = config["source"] if source is None else source
    dataset = _open(where, entry, resolution=config["resolution"], labels=config["labels"], progress=progress)
    if dataset.fingerprint != config["fingerprint"]:
        raise UserError(f"SOURCE: {where} has changed since {folder.path} was begun; fit again")
    torch.manual_seed(config["seed"])
    method = make_method(config, dataset.spec)
    if isinstance(method, ClosedForm):
        return _finish_closed_form(folder, method, dataset, say)
    _initialise(method, config["init"])
    return _finish(folder, method, dataset, progress, say)


def _check(entry: catalogue.Entry, wishes: dict[str, Any]) -> None:
    given = [name for name, value in wishes.items() if value is not None]
    if entry.kind == "ClosedForm" and given:
        raise UserError(f"{given[0]}: {entry.name} is solved in closed form and has no such option")
    if "epochs" in given and "budget" in given:
        raise UserError("epochs, budget: both were given; give the number of passes or the time there is, not both")
    for name in ("epochs", "batch_size"):
        if wishes[name] is not None and (not isinstance(wishes[name], int) or wishes[name] < 1):
            raise UserError(f"{name}: {wishes[name]} is not a whole number of at least 1")
    rate = wishes["learning_rate"]
    if rate is not None and not 0 < rate < float("inf"):
        raise UserError(f"learning_rate: {rate} is not a positive, finite number")


def _open(source: Any, entry: catalogue.Entry, **options: Any) -> Dataset:
    dataset = source if isinstance(source, Dataset) else open_data(source, **options)
    if dataset.spec.modality not in entry.modality:
        takes = " and ".join(entry.modality)
        raise UserError(f"SOURCE: {entry.name} learns from {takes} data, {dataset.name} is {dataset.spec.modality}")
    return dataset


def _provenance(source: Any, dataset: Dataset, labels: str | None) -> dict[str, Any]:
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
        "resolution": dataset.spec.resolution if dataset.spec.modality == "image" else None,
        "labels": labels,
    }


def _about(config: dict[str, Any], dataset: Dataset) -> list[str]:
    lines = [f"{config['method']} on {dataset.name}: {recipe.describe_data(dataset.spec, len(dataset))}"]
    lines += [f"  note: {note}" for note in dataset.notes]
    shown = [f"  left out: {item.id} ({item.reason})" for item in dataset.bad[:10]]
    more = len(dataset.bad) - len(shown)
    return lines + shown + ([f"  and {more} more bad items, all in bad_items.csv"] if more > 0 else [])


def _learn(
    config: dict[str, Any],
    wishes: dict[str, Any],
    settings: dict[str, Any],
    dataset: Dataset,
    path: Path,
    started: float,
    progress: bool,
    say: Say,
) -> Representation:
    """Builds a gradient method, decides what was left open, and trains it."""
    torch.manual_seed(config["seed"])
    config |= {"encoder": wishes["encoder"], "views": wishes["views"]}
    method = make_method(config, dataset.spec)
    assert isinstance(method, Method)
    config["options"] = options_of(method, config["method"])
    config["init"] = None if wishes["init"] is None else str(Path(wishes["init"]).resolve())
    _initialise(method, config["init"])
    choices = recipe.Choices()
    config |= _decide(choices, method, dataset, wishes, settings)
    config |= {"encoder": choices.values["encoder"], "views": choices.values.get("views")}
    if wishes["budget"] is not None:
        seconds = parse_duration(wishes["budget"], "--budget")
        config |= _within(choices, seconds, method, dataset, config, started)
    for line in choices.lines():
        say(line)
    forecast = recipe.expected_seconds(config["flops_per_step"], config["steps"], precision=config["precision"])
    say(f"  {config['steps']:,} steps, roughly {format_duration(forecast)}")
    run = _create(path, config, dataset)
    say(f"  in {run.path}")
    return _finish(run, method, dataset, progress, say)


def _decide(
    choices: recipe.Choices, method: Method, dataset: Dataset, wishes: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """The config's part on training."""
    accelerator, rows, world = machine.accelerator(), len(dataset), settings["devices"]
    encoder = wishes["encoder"] or ("convnet" if dataset.spec.modality == "image" else "mlp")
    choices.decide("encoder", encoder, "as given" if wishes["encoder"] else f"the default for {dataset.spec.modality}s")
    if any(name == "views" for name, _ in method.named_children()):
        policy, reason = (wishes["views"], "as given") if wishes["views"] else default_policy(dataset.spec)
        choices.decide("views", policy, reason)
    batch = recipe.choose_batch(choices, rows=rows, world=world, given=wishes["batch_size"])
    epochs = 1 if wishes["budget"] else recipe.choose_epochs(choices, rows=rows, given=wishes["epochs"])
    rate = recipe.choose_learning_rate(choices, batch=batch, encoder=encoder, given=wishes["learning_rate"])
    flops = step_flops(method, dataset.batch(np.arange(batch)))
    per_epoch = rows // (batch * world)
    precision = recipe.choose_arithmetic(choices, flops=flops, accelerator=accelerator, given=settings["precision"])
    seconds = recipe.expected_seconds(flops, epochs * per_epoch, precision=precision, world=world)
    if wishes["budget"]:
        seconds = parse_duration(wishes["budget"], "--budget")
    compiled = recipe.choose_compilation(
        choices, seconds=seconds, flops=flops, accelerator=accelerator, given=settings["compile"]
    )
    return settings | {
        "batch_size": batch,
        "epochs": None if wishes["budget"] else epochs,
        "budget": None if wishes["budget"] is None else str(wishes["budget"]),
        "steps_per_epoch": per_epoch,
        "steps": epochs * per_epoch,
        "learning_rate": rate,
        "weight_decay": 1e-4,
        "precision": precision,
        "compile": compiled,
        "threads": max(1, recipe.choose_threads(choices, flops=flops) // (world if accelerator == "cpu" else 1)),
        "flops_per_step": flops,
    }


def _within(
    choices: recipe.Choices, budget: float, method: Method, dataset: Dataset, config: dict[str, Any], started: float
) -> dict[str, Any]:
    """As many steps as the time allows: counted once, before the first."""
    from salience.training.engine import prepare, threads

    prepare(method, config)
    loader = dataset.loader(config["batch_size"], config["seed"])
    with threads(config["threads"]):
        each = seconds_per_step(method, loader, config)
    left = BUDGET_SHARE * (budget - (time.monotonic() - started))
    steps = int(left / each)
    if steps < 1:
        raise UserError(
            f"--budget: {format_duration(budget)} is over before the first step; a step takes "
            f"{format_duration(each)} and the start-up {format_duration(time.monotonic() - started)}"
        )
    choices.decide("steps", steps, f"{each * 1000:.0f} ms each, within {format_duration(budget)}")
    return {"steps": steps}


def _initialise(method: Method, init: str | None) -> None:
    if init is None:
        return
    before = load(init).method
    if isinstance(before, ClosedForm):
        raise UserError(f"--init: {init} is a closed form and has no encoder; give a run that was trained")
    try:
        method.encoder.load_state_dict(before.encoder.state_dict())
    except RuntimeError:
        raise UserError(f"--init: the encoder in {init} is of another shape; use the same --encoder and data") from None


def _create(path: Path, config: dict[str, Any], dataset: Dataset) -> Run:
    """The run folder. All processes but the first take the one the first has made."""
    if is_helper():
        for _ in range(600):
            if path.exists():
                return Run(path)
            time.sleep(0.1)
    bad = io.StringIO()
    csv.writer(bad).writerows([("item", "reason"), *((item.id, item.reason) for item in dataset.bad)])
    return Run.create(path, config, {"bad_items.csv": bad.getvalue()})


def _finish(run: Run, method: Method, dataset: Dataset, progress: bool, say: Say) -> Representation:
    train(run, method, dataset, progress=progress and not is_helper(), say=say)
    if is_helper():
        sys.exit(0)  # it was started for this training alone
    save_weights(method, run.weights)
    say(f"done: {run.path}")
    return load(run.path)


def _solve(config: dict[str, Any], dataset: Dataset, path: Path, say: Say) -> Representation:
    method = make_method(config, dataset.spec)
    assert isinstance(method, ClosedForm)
    config["options"] = options_of(method, config["method"])
    return _finish_closed_form(_create(path, config, dataset), method, dataset, say)


def _finish_closed_form(run: Run, method: ClosedForm, dataset: Dataset, say: Say) -> Representation:
    rows = Rows(dataset, method)
    say(f"  {rows.describe()}")
    started = time.monotonic()
    method.fit_rows(rows, seed=run.config["seed"])
    seconds = time.monotonic() - started
    run.write_json("cost.json", {"flops": None, "seconds": round(seconds, 3), "items_seen": len(dataset)})
    save_weights(method, run.weights)
    say(f"done in {format_duration(seconds)}: {run.path}")
    return load(run.path)


def _run_path(out: Path | str | None, method: str, source: Any) -> Path:
    if out is not None:
        path = Path(out)
        if not is_helper():
            refuse_existing(path)
        return path
    stem = Path(str(source)).name if isinstance(source, str | os.PathLike) else "memory"
    return next_free(Path("runs"), f"{method}-{stem.replace(':', '-')}")


def _printer(progress: bool) -> Say:
    heard = progress and not is_helper()
    return (lambda line: print(line, file=sys.stderr, flush=True)) if heard else (lambda line: None)
