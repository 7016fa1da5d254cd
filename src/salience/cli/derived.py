"""A command made from a verb's function: its signature gives the options, its docstring their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from salience.cli.options import ABOUT_SOURCE, Json, Out, OwnSource, Read, Source, parameter
from salience.cli.output import output_kept_for, print_json, print_text
from salience.reading import AS_FOUND
from salience.verbs import table
from salience.verbs.signature import Parameter as Declared
from salience.verbs.signature import read_signature
from salience.verbs.table import Verb

if TYPE_CHECKING:
    from salience.verbs.result import Result

FIRST = ("run", "store", "source")  # what is typed without its name, in this order
ABOUT_FIRST = {
    "run": "Folder of a run.",
    "store": "A store, NAME.lance, written by `embed`.",
    "run or store": "Folder of a run, or a store.",
}
KEYWORDS = {"start": "--from", "end": "--to"}  # `from` is a word of Python
OptionalSource = Annotated[str | None, Parameter(help=ABOUT_SOURCE)]


def command_of(verb: Verb) -> Callable[..., int]:
    """A function that cyclopts can parse for. It calls the verb's function and prints what that returns."""
    signature = read_signature(verb.function)
    order = [one.option.name for one in signature.parameters if one.option.name in FIRST]

    def called(*first: Any, **given: Any) -> int:
        given |= dict(zip(order, first, strict=False))
        json = given.pop("json", False)
        if verb.writes == "folder":
            given["out"] = folder_for(given.get("out"), verb.name)
        if "read" in given:
            given["reading"] = given.pop("read")
        with output_kept_for(json):
            found = table.load(verb.function)(**given)
        return show(found, json)

    parameters = [_parameter(verb, one) for one in signature.parameters]
    if signature.reads_source:
        parameters.append(_named("read", Read, AS_FOUND))
    parameters.append(_named("json", Json, False))
    parameters.sort(key=lambda one: (one.kind, one.default is not inspect.Parameter.empty))
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what cyclopts reads
    called.__doc__, called.__name__ = signature.summary, verb.name.replace("-", "_")
    return called


def _parameter(verb: Verb, declared: Declared) -> inspect.Parameter:
    option = declared.option
    if option.name == "out":
        return _named("out", Out, None)
    if option.name in FIRST:
        return _first(verb, declared)
    given = parameter(option, flag=KEYWORDS.get(option.name, ""))
    return given.replace(default=inspect.Parameter.empty) if declared.required else given


def _first(verb: Verb, declared: Declared) -> inspect.Parameter:
    """An argument that is typed without its name."""
    name, default = declared.option.name, inspect.Parameter.empty if declared.required else None
    annotation: Any = Source
    if name != "source":
        about = next((ABOUT_FIRST[kind] for kind in verb.reads if kind in ABOUT_FIRST), ABOUT_FIRST[name])
        annotation = Annotated[Path, Parameter(help=about)]
    elif not declared.required:
        annotation = OwnSource if verb.own_source == name else OptionalSource
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY, default=default, annotation=annotation)


def _named(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def folder_for(out: Path | None, verb: str) -> Path:
    """Where the results go: the folder asked for, or the next free one in `runs`."""
    from salience.run import next_free

    return out or next_free(Path("runs"), verb)


def show(found: Result, json: bool) -> int:
    """Prints what a verb returned, as JSON or for people."""
    return print_json(found.to_dict()) if json else print_text(found.text())
