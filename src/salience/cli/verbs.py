"""The whole command line, and the commands of verbs that print in a way of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Literal

from cyclopts import App

from salience import catalogue
from salience.catalogue import Entry
from salience.cli.code import with_code
from salience.cli.derived import command_of
from salience.cli.fit import fit_app, with_method
from salience.cli.options import Json, OwnSource, Read, Resolution, Run, Seed, Source
from salience.cli.output import output_kept_for, print_json, print_text, table
from salience.cli.threads import with_threads
from salience.errors import UserError
from salience.option import nearest
from salience.reading import AS_FOUND
from salience.verbs import table as known
from salience.verbs.table import Verb

TAKES_RUN = ("run", "run or store", "store")
HELP = "Learn representations from unlabelled data, evaluate them, and apply them."


def make_app(argv: list[str]) -> App:
    """The command line: all verbs, or only the one that `argv` names, since the others' files need not be read then.

    argv: the words typed; completed in place where a config names the method of `fit`
    """
    names = known.names()
    if argv and not argv[0].startswith("-") and argv[0] not in names:
        suggestion = nearest(argv[0], names)
        raise UserError(f"there is no verb '{argv[0]}'{suggestion}; known are: {', '.join(names)}")
    app = App(name="salience", help=HELP, version=_version, suppress_keyboard_interrupt=False)
    named = argv[0] if argv and argv[0] in names else None
    for place, verb in enumerate(known.TABLE):
        if named not in (None, verb.name):
            continue
        if verb.name == "fit":
            app.command(_fit_app(argv, sort_key=place))
        else:
            app.command(_command(verb), name=verb.name, sort_key=place)
    return app


def _fit_app(argv: list[str], sort_key: int) -> App:
    fitting = argv[:1] == ["fit"]
    if fitting:
        argv[1:] = with_method(argv[1:])
    return fit_app(argv[1:] if fitting else (), sort_key=sort_key)


def _command(verb: Verb) -> Callable[..., int]:
    command: Callable[..., int] = known.load(verb.command) if verb.command else command_of(verb)
    if not set(verb.reads).isdisjoint(TAKES_RUN):
        command = with_code(command)
    return with_threads(command) if verb.computes else command


def _version() -> str:
    from importlib.metadata import version

    return version("salience")


def methods(name: str | None = None, /, *, json: Json = False) -> int:
    """List the methods, or show the formula and the hyperparameters of one method.

    Parameters
    ----------
    name
        Name of a method.
    """
    if name is not None:
        entry = catalogue.find(name)
        return print_json(entry.to_dict(whole=True)) if json else print_text(_one_method(entry))
    entries = catalogue.entries()
    if json:
        return print_json([entry.to_dict() for entry in entries])
    rows = [(e.name, e.family, ", ".join(e.modality), ", ".join(e.capabilities) or "-", e.paper) for e in entries]
    return print_text(table(("method", "family", "modality", "capabilities", "paper"), rows))


def _one_method(entry: Entry) -> str:
    rows = [
        (f"--{option.name.replace('_', '-')}", option.type, str(option.default), option.bounds, option.meaning)
        for option in entry.options
    ]
    facts = (
        f"{entry.family}, {entry.kind}; takes {', '.join(entry.modality)}; {', '.join(entry.capabilities) or 'embeds'}"
    )
    options = table(("option", "type", "default", "bounds", "meaning"), rows) if rows else "no hyper-parameters"
    return f"{entry.formula}\n\n{facts}\n\n{indent(options, '  ')}"


def views(
    method: str,
    source: Source,
    /,
    *,
    out: Path | None = None,
    views: str | None = None,
    resolution: Resolution | None = None,
    seed: Seed = 0,
    read: Read = AS_FOUND,
) -> int:
    """Draw the views that a method trains on, for several items, as one picture.

    Parameters
    ----------
    method
        Name of a method, see `salience methods`.
    out
        File of the picture. Default: views-METHOD-SOURCE.png.
    views
        View policy. Default: the one that suits the data.
    """
    entry = catalogue.find(method)
    from salience.verbs.preview import preview

    return print_text(
        str(preview(entry.typed, source, out, views=views, resolution=resolution, seed=seed, reading=read))
    )


def data(
    source: Source,
    other: str | None = None,
    /,
    *,
    labels: str | None = None,
    resolution: Resolution | None = None,
    read: Read = AS_FOUND,
    json: Json = False,
) -> int:
    """Summarise a dataset: items, labels, bad items, duplicates; and check its overlap with a second one.

    Parameters
    ----------
    other
        A second source, such as the test data, to check for overlap.
    labels
        Column of labels, in a table.
    """
    from salience.verbs.describe import describe

    with output_kept_for(json):
        found = describe(source, other, labels=labels, resolution=resolution, reading=read)
    return print_json(found.to_dict()) if json else print_text(found.text())


def embed(run: Run, source: OwnSource = None, /, *, out: Path, shard: str | None = None, read: Read = AS_FOUND) -> int:
    """Write the embedding of every item of SOURCE to a store, or to a Parquet file.

    Parameters
    ----------
    out
        A store, NAME.lance, to which new items are added; or a file, FILE.parquet.
    shard
        i/n: embed the i-th of n parts of a store. The last one to finish joins all parts.
    """
    from salience.verbs.export import embed_to

    embed_to(run, source, out, shard=shard, reading=read)
    return print_text(str(out))


def evaluate(
    run: Run,
    /,
    *,
    on: OwnSource = None,
    test: str | None = None,
    labels: str | None = None,
    read: Read = AS_FOUND,
    target: Literal["classification", "regression"] | None = None,
    metric: list[str] | None = None,
    json: Json = False,
) -> int:
    """Evaluate a run against baselines: raw input, PCA and an untrained encoder.

    Parameters
    ----------
    test
        Held-out data. Default: the test split of SOURCE, otherwise a fifth of its items.
    labels
        Column of labels, in a table. Default: the column that the run was given.
    target
        How labels are predicted. Default: measurements, and many different whole numbers, are a quantity (R²).
    metric
        A further metric: one of an installed package, or FILE.py:NAME. May be repeated.
    """
    from salience.evaluation.protocol import evaluate as measure

    with output_kept_for(json):
        report = measure(run, on, test, labels=labels, target=target, metrics=metric, reading=read)
    return print_json(report.to_dict()) if json else print_text(f"{report.text()}\n\nreport: {run / 'report.html'}")


def doctor(run: Run, /, *, json: Json = False) -> int:
    """Diagnose a run: print a verdict, the evidence and remedies. Exit code 0: healthy, 1: not healthy."""
    from salience.verbs.doctor import doctor as examine

    found = examine(run)
    print_json(found.to_dict()) if json else print_text(found.text())
    return 0 if found.healthy else 1


def compare(*runs: Run, out: Path | None = None, json: Json = False) -> int:
    """Compare evaluated runs: a table, and a plot of quality against cost.

    Parameters
    ----------
    out
        Folder for the table and the plot. Default: runs/compare-N.
    """
    from salience.evaluation.compare import compare as compare_runs
    from salience.run import next_free

    folder = out or next_free(Path("runs"), "compare")
    compared = compare_runs(runs, folder)
    return print_json(compared.to_dict()) if json else print_text(f"{compared.text()}\nplot: {folder / 'compare.html'}")


def predict(
    run: Run, source: OwnSource = None, /, *, labels: Path, out: Path | None = None, read: Read = AS_FOUND
) -> int:
    """Predict the class of every item, with a confidence, from a few labels.

    Parameters
    ----------
    labels
        CSV file with the header "item,label". An item is a relative path or a row number.
    out
        CSV file to write. Default: the table is printed.
    """
    from salience.csv_text import as_csv, warn_about_escapes
    from salience.verbs.predict import predict as predict_classes

    predicted = predict_classes(run, source, labels, out, reading=read)
    if predicted.attrs["calibration"] is not None:
        from salience.evaluation.calibration import Calibration

        print(f"note: {Calibration(**predicted.attrs['calibration']).text()}", file=sys.stderr)
    if out is not None:
        return print_text(str(out))
    text, count = as_csv(predicted, "%.4f")
    warn_about_escapes(count, "the table")
    return print_text(text.rstrip())


def demo(*, out: Path | None = None) -> int:
    """Run the complete workflow on handwritten digits. It takes about two minutes.

    Parameters
    ----------
    out
        New folder for the run. Default: runs/demo-N.
    """
    from salience.verbs.demo import demo as run_demo

    return print_text(run_demo(out))
