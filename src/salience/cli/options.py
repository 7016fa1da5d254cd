"""From an `Option` of the catalogue to a parameter that cyclopts understands."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from salience.cli.code import Code
from salience.config import OPTIONS
from salience.option import Option
from salience.reading import AS_FOUND, Reading
from salience.units import AUTO, SEEDS

TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


ABOUT_SOURCE = "A built-in name, a file, a folder, hf://OWNER/NAME; SOURCE:test names a split."
Json = Annotated[bool, Parameter(help="Print only JSON on standard output.", negative="")]
Source = Annotated[str, Parameter(help=ABOUT_SOURCE)]
Run = Annotated[Path, Parameter(help="Folder of a run.")]
Out = Annotated[Path | None, Parameter(help="New folder for the results. Default: runs/VERB-N.")]
OwnSource = Annotated[str | None, Parameter(help=f"{ABOUT_SOURCE} Default: the source that the run was trained on.")]
With = Annotated[
    list[str] | None,
    Parameter(
        name="--with",
        help="NAME=SOURCE: another source, joined to SOURCE (which is called main) by id, or row by row; may be "
        "repeated.",
        negative="",
        group=Group("Options of fit", sort_key=2),
    ),
]
Read = Annotated[Reading, Parameter(name="*", negative_iterable="", group=Group("Reading the source", sort_key=3))]


def command(run: Callable[..., int], own: Iterable[Option], common: Iterable[Option], name: str) -> Callable[..., int]:
    """A function cyclopts can parse for: SOURCE, then `--name VALUE` for each option. It calls
    run(source, given) with the options that were given, checked.

    own, common: the method's hyper-parameters, and the options of `fit`, as two groups in the help
    """

    def called(source=None, /, **given):  # type: ignore[no-untyped-def]  # cyclopts reads the signature set below
        return run(source, given)

    or_none: Any = Annotated[str | None, Parameter(help=ABOUT_SOURCE)]
    first = inspect.Parameter("source", inspect.Parameter.POSITIONAL_ONLY, default=None, annotation=or_none)
    hyper_parameters = [parameter(option, Group(f"Options of {name}", sort_key=1)) for option in own]
    training = [parameter(option, Group("Options of fit", sort_key=2)) for option in common]
    beside = inspect.Parameter("beside", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=With)
    code = inspect.Parameter("code", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Code)
    reading = inspect.Parameter("reading", inspect.Parameter.KEYWORD_ONLY, default=AS_FOUND, annotation=Read)
    called.__signature__ = inspect.Signature([first, *hyper_parameters, *training, beside, code, reading])  # type: ignore[attr-defined]
    return called


def parameter(option: Option, group: Group | None = None, flag: str = "") -> inspect.Parameter:
    """What cyclopts reads for an option.  flag: how it is typed, where not as --NAME; of one letter also as -N"""
    settings: dict[str, Any] = {"help": option.describe(), "show_default": option.default is not None}
    settings |= {} if group is None else {"group": group}
    if flag or len(option.name) == 1:
        settings["name"] = [flag] if flag else [f"-{option.name}", f"--{option.name}"]
    type_: Any = TYPES.get(option.type, str)
    if option.type == "bool":
        settings["negative"] = f"--no-{option.name.replace('_', '-')}" if option.default is not False else ""
        settings["show_default"] = False
    else:
        settings["converter"] = _reader(option)
    if option.choices:
        type_ = Literal[option.choices]
    default = option.default
    if default == AUTO:  # cyclopts checks defaults too, in a process that has loaded pydantic
        settings["show_default"], default = lambda _: AUTO, None
    if default is None:
        type_ = type_ | None
    annotation = Annotated[type_, Parameter(**settings)]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _reader(option: Option) -> Callable[[Any, Any], Any]:
    def read(_: Any, tokens: Any) -> Any:
        return option.read(tokens[0].value)

    return read


def number(option: Option) -> Any:
    return Annotated[TYPES[option.type], Parameter(help=option.meaning, converter=_reader(option))]


Seed = number(Option("seed", "int", 0, "Random seed.", ge=0, le=SEEDS - 1))
Resolution = number(OPTIONS["resolution"])
Count = number(Option("n", "int", 64, "Number of samples to write.", ge=1))
Steps = number(Option("steps", "int", 9, "Number of items on the path, including both ends.", ge=3))
Level = number(Option("level", "float", None, "Standard deviation on a scale of 0 to 1, or share of values.", gt=0))
Neighbours = number(Option("k", "int", 5, "Number of neighbours, for the score `neighbours`.", ge=1))
Hits = number(Option("k", "int", 10, "Number of items to show.", ge=1))
Clusters = number(Option("k", "int", None, "Number of clusters. Default: the number that fits the data best.", ge=2))
Threshold = number(
    Option(
        "threshold",
        "float",
        None,
        "Largest cosine distance of near-duplicates. Default: estimated from nearest neighbours.",
        ge=0,
    )
)
