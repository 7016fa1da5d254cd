"""`salience fit`: one sub-command per method, with that method's hyper-parameters and what its kind of training has."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from salience import catalogue
from salience.catalogue import Entry, Option
from salience.cli.code import Code
from salience.cli.options import command
from salience.config import CONFIG_FILE, EXCLUSIVE, check_given, check_options, fit_options
from salience.errors import UserError, naming
from salience.reading import AS_FOUND, Reading
from salience.units import printable
from salience.untrusted import shown

MAIN = "main"  # what SOURCE is called where others are joined to it
NOT_FROM_CONFIG = ("out", "config")  # belong to one run
USAGE = (
    "Usage: salience fit METHOD SOURCE [OPTIONS]\n       salience fit METHOD --help\n       salience fit --resume RUN\n"
)


def fit_app(words: Sequence[str], folder: Path = catalogue.METHODS, *, sort_key: int = 0) -> App:
    """The sub-commands of `fit`. Only the method named by the first of `words` gets its options read."""
    about = "Train a method on SOURCE and save the run in a folder."
    app = App(name="fit", help=about, usage=USAGE, sort_key=sort_key)
    app.default(_without_method)
    if not words:
        return app
    chosen = None if words[0].startswith("-") else catalogue.find(words[0], folder)
    for entry in [chosen] if chosen else catalogue.entries(folder):
        about = f"{entry.idea[:1].upper()}{entry.idea[1:]}"
        name = words[0] if chosen else entry.name  # of a file as it was typed
        usage = f"Usage: salience fit {name} SOURCE [OPTIONS]"
        app.command(_method_command(entry), name=name, help=about, usage=usage, sort_key=entry.family)
    return app


def with_method(words: Sequence[str]) -> list[str]:
    """The words after `fit`, with METHOD put first where only --config names it."""
    first, given = words[0] if words else "--help", [word.partition("=")[0] for word in words]
    if not first.startswith("-"):
        if "--resume" in given:
            raise UserError("--resume: a run stores its method and its source; write: salience fit --resume RUN")
        return list(words)
    config = _config_path(words)
    if config is not None:
        named = read_config(config)
        code = named.get("code")
        record = code.get("method") if isinstance(code, dict) else None
        if isinstance(record, dict) and record.get("file"):
            file = record["file"]
            raise UserError(
                f"METHOD: the method of {config} comes from {file}; write: salience fit {file} --config ..."
            )
        return [str(named["method"]), *words]
    if given[:1] not in ([], ["--resume"], ["--help"], ["-h"]):
        raise UserError(f"METHOD: {first} came before it; write: salience fit METHOD SOURCE {first} ...")
    return list(words)


def _config_path(words: Sequence[str]) -> str | None:
    for position, word in enumerate(words):
        if word == "--config" and position + 1 < len(words):
            return words[position + 1]
        if word.startswith("--config="):
            return word.partition("=")[2]
    return None


def _without_method(
    *,
    resume: Annotated[str | None, Parameter(help="Resume this run from its last checkpoint.")] = None,
    code: Code = None,
) -> int:
    del code  # obeyed before
    if resume is None:
        raise UserError(f"METHOD: none given; write: salience fit METHOD SOURCE, METHOD one of {_known()}")
    from salience.training import resume as resume_run

    with naming("resume", "run"):
        finished = resume_run(resume)
    _say_next(finished.run or Path(resume), finished.config.data.source)
    return 0


def _known() -> str:
    return ", ".join(catalogue.names())


def _method_command(entry: Entry) -> Callable[..., int]:
    own = {option.name for option in entry.options}
    common = [option for option in (*fit_options(entry), CONFIG_FILE) if option.name not in own]

    def run(source: str | None, given: Mapping[str, Any]) -> int:
        return run_fit(entry, source, given)

    return command(run, entry.options, common, entry.name)


def run_fit(entry: Entry, source: str | None, given: Mapping[str, Any]) -> int:
    """Fits, and says where the run is and what can be done with it."""
    settings = dict(given)
    settings.pop("code", None)  # obeyed before
    beside = named_sources(settings.pop("beside", None) or ())
    config = settings.pop("config", None)
    if config is not None:
        configured = read_config(config)
        beside = beside or {name: one for name, one in (configured.get("sources") or {}).items() if name != MAIN}
        source = source or configured.get("source")
        _require_parts(configured, settings, entry)
        settings = merge(configured, settings, entry)
        reading = settings.get("reading", AS_FOUND).over(_reading_of(configured))
        settings |= {} if reading == AS_FOUND else {"reading": reading}
    if source is None:
        raise UserError(f"SOURCE: none given; write: salience fit {entry.name} SOURCE, for example digits")
    check_options(entry, settings)
    from salience.training import fit

    fitted = fit(entry.typed, {MAIN: source, **beside} if beside else source, **settings)
    if fitted.run is not None:
        _say_next(fitted.run, source)
    return 0


def named_sources(words: Sequence[str]) -> dict[str, str]:
    """NAME=SOURCE, each. Raises UserError for anything else, and for a name that is given twice."""
    found = {MAIN: ""}
    for word in words:
        name, sign, source = word.partition("=")
        if not sign or not source or not name.isidentifier():
            raise UserError(f"--with: expected NAME=SOURCE, such as captions=captions.csv; got {shown(word)}")
        if name in found:
            raise UserError(f"--with: the name {shown(name)} is taken; give each source a name of its own")
        found[name] = source
    return {name: source for name, source in found.items() if name != MAIN}


def _reading_of(config: Mapping[str, Any]) -> Reading:
    """As the file says. One that a run has written without a reading is older than readings."""
    return Reading.of(config if "spec" in config else {"reading": {}, **config})


def read_config(path: str | Path) -> dict[str, Any]:
    """A run's config.yaml. Raises UserError, naming the file, where it is none."""
    from salience.untrusted import Damaged, read_yaml

    try:
        config = read_yaml(Path(path))
    except Damaged as problem:
        raise UserError(f"--config: {path} cannot be read ({problem}); give a run's config.yaml") from None
    if not isinstance(config, dict) or not isinstance(config.get("method"), str):
        raise UserError(f"--config: {path} names no method; give a run's config.yaml, or a line 'method: NAME'")
    try:
        check_given(config)
    except Damaged as problem:
        raise UserError(f"--config: {path}: {problem}") from None
    return config


def merge(config: Mapping[str, Any], given: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
    """What was given on the command line, over what the file says. Hyper-parameters count for their own method only."""
    known = {option.name: option for option in fit_options(entry) if option.name not in NOT_FROM_CONFIG}
    settings = {name: _as_given(name, config[name]) for name in known if config.get(name) is not None}
    if config["method"] == entry.name:
        known |= {option.name: option for option in entry.options}
        settings |= config.get("options") or {}
    if any(given.get(name) is not None for name in EXCLUSIVE):
        settings = {name: value for name, value in settings.items() if name not in EXCLUSIVE}
    return {name: _checked(known, name, value) for name, value in settings.items()} | dict(given)


def _require_parts(config: Mapping[str, Any], given: Mapping[str, Any], entry: Entry) -> None:
    """Raises UserError where the config has an encoder or views of a file, which must be named again."""
    code = config.get("code")
    for part, record in (code if isinstance(code, dict) else {}).items():
        known = part in ("encoder", "views") and isinstance(record, dict) and not record.get("package")
        if known and given.get(part) is None and part in {one.name for one in fit_options(entry)}:
            place = f"{record.get('file') or 'FILE.py'}:{record.get('name')}"
            raise UserError(f"--config: its {part} comes from {place}; name it again with: --{part} {place}")


def _as_given(name: str, value: Any) -> Any:
    """What a run's config holds resolved, as it would be given: seconds, and the epochs a budget came to."""
    if name == "epochs" and isinstance(value, float):
        return max(1, round(value))
    return f"{value}s" if name == "checkpoint_every" and isinstance(value, int | float) else value


def _checked(known: Mapping[str, Option], name: str, value: Any) -> Any:
    if name not in known:
        raise UserError(f"--config: there is no option {printable(name)}{catalogue.nearest(name, known)}")
    try:
        if isinstance(value, dict | list):
            raise ValueError(f"{shown(value)} is no single value")
        return known[name].check(value)
    except ValueError as problem:
        raise UserError(f"--config: {name}: {problem}") from None


def _say_next(run: Path, source: str | None) -> None:
    folder, data = shlex.quote(str(run)), shlex.quote(source or "SOURCE")
    sys.stderr.flush()
    print(f"run: {run}")
    print(f"next: salience evaluate {folder} --on {data}")
    print(f"      salience embed {folder} {data} --out {shlex.quote(run.name)}.lance")
    print(f"      salience explore {folder}")
