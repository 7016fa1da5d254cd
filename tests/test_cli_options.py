"""Every option of every verb reaches the function behind the verb, with the value that was typed."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from salience import catalogue
from salience.cli.derived import command_of
from salience.cli.fit import NOT_FROM_CONFIG
from salience.cli.verbs import make_app
from salience.config import fit_options
from salience.reading import Reading
from salience.verbs import table

WORDS = {  # how a verb is called: its own words in the place of arguments
    "views": "simclr digits",
    "data": "digits fashion-mnist",
    "embed": "RUN digits --out new.parquet",
    "evaluate": "RUN --on digits",
    "doctor": "RUN",
    "compare": "RUN RUN",
    "predict": "RUN digits --labels few.csv",
    "explore": "RUN",
    "demo": "",
    "reconstruct": "RUN digits",
    "denoise": "RUN digits",
    "sample": "RUN digits",
    "interpolate": "RUN digits",
    "arithmetic": "RUN digits --add 1 --subtract 2",
    "anomalies": "RUN digits",
    "super-resolve": "RUN digits",
    "search": "STORE query",
    "cluster": "STORE",
    "duplicates": "STORE",
}
SERVED = {"explore": "salience.explorer.serve:serve"}  # what the command calls, where it is not the public function


CALLED = {"read": "reading", "folder": "runs", "metric": "metrics"}  # where the function has another word than the verb
TYPED: dict[str, tuple[str, Any]] = {  # what is typed for an option, and what the function gets
    "noise": ("masking", "masking"), "level": ("0.25", 0.25), "score": ("neighbours", "neighbours"),
    "method": ("gmm", "gmm"), "threshold": ("0.125", 0.125), "k": ("7", 7), "n": ("7", 7), "steps": ("7", 7),
    "seed": ("7", 7), "resolution": ("16", 16), "port": ("8123", 8123), "shard": ("2/8", "2/8"),
    "test": ("fashion-mnist", "fashion-mnist"), "source": ("fashion-mnist", "fashion-mnist"),
    "run": ("RUN", Path("RUN")), "features": ("RUN", "RUN"), "labels": ("column", "column"),
    "out": ("new-place", Path("new-place")), "folder": ("RUN", Path("RUN")), "target": ("regression", "regression"),
    "metric": ("some-text", ["some-text"]),
}  # fmt: skip
READINGS = {
    "--folders flat": Reading(folders="flat"),
    "--aspect pad": Reading(aspect="pad"),
    "--separator ;": Reading(separator=";"),
    "--decimal ,": Reading(decimal=","),
    "--no-header": Reading(header=False),
    "--missing NA --missing ?": Reading(missing=("NA", "?")),
}


class Reached(Exception):  # noqa: N818
    pass


@pytest.fixture
def reach(tmp_path, monkeypatch):
    """What the function behind a verb is called with, by argument."""
    monkeypatch.chdir(tmp_path)
    for module in ("early",):
        monkeypatch.setattr(f"salience.cli.{module}.refuse_early", lambda *_: None)

    def call(verb: str, words: list[str]) -> dict[str, Any]:
        module, _, name = SERVED.get(verb, function_of(verb)).partition(":")
        function = getattr(importlib.import_module(module), name)
        got: dict[str, Any] = {}

        def record(*args: Any, **kwargs: Any) -> None:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            got.update(bound.arguments)
            raise Reached

        with monkeypatch.context() as patch:
            patch.setattr(importlib.import_module(module), name, record)
            argv = [verb, *words]
            command, bound, _ = make_app(argv).parse_args(argv, exit_on_error=False, print_error=False)
            with pytest.raises(Reached):
                command(*bound.args, **bound.kwargs)
        return got

    return call


def function_of(verb: str) -> str:
    return next(one.function for one in table.TABLE if one.name == verb)


def options_of_verb(verb: str) -> list[inspect.Parameter]:
    entry = next(one for one in table.TABLE if one.name == verb)
    command = table.load(entry.command) if entry.command else command_of(entry)
    keywords = [p for p in inspect.signature(command).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return [p for p in keywords if p.name != "json"]


CASES = [
    pytest.param(verb, parameter.name, id=f"{verb} {parameter.name}")
    for verb in WORDS
    for parameter in options_of_verb(verb)
    if parameter.name not in ("read", "code")  # which is obeyed before: tests/test_own_code.py
]


def test_no_verb_is_forgotten():
    assert set(WORDS) == set(table.names()) - {"methods", "fit"}


@pytest.mark.parametrize(("verb", "name"), CASES)
def test_an_option_reaches_the_function(reach, verb, name):
    fixed = WORDS[verb].split()
    flag = {"start": "--from", "end": "--to", "folder": "--runs"}.get(name, f"--{name.replace('_', '-')}")
    typed, value = TYPED.get(name, ("some-text", "some-text"))
    if name in ("noisy", "as_is"):
        typed, value = "", True
    if name == "labels" and verb == "predict":
        value = Path(typed)
    if name == "out" and verb == "embed":
        typed, value = "other.parquet", Path("other.parquet")
    if flag in fixed:  # a required one: another value instead
        at = fixed.index(flag)
        fixed = fixed[:at] + fixed[at + 2 :]
    got = reach(verb, [*fixed, flag, *[typed][: len(typed)]])
    argument = CALLED.get(name, name)
    assert got[argument] == value


@pytest.mark.parametrize("words", READINGS)
@pytest.mark.parametrize("verb", [verb for verb in WORDS if any(p.name == "read" for p in options_of_verb(verb))])
def test_how_a_source_is_read_reaches_the_function(reach, verb, words):
    assert reach(verb, [*WORDS[verb].split(), *words.split()])["reading"] == READINGS[words]


def test_every_verb_that_takes_a_source_is_told_how_to_read_it():
    takes = {verb for verb, words in WORDS.items() if "digits" in words.split()}
    assert {verb for verb in WORDS if any(p.name == "read" for p in options_of_verb(verb))} == takes


def other_than_default(option: catalogue.Option) -> str:
    if option.choices:
        return str(next(choice for choice in option.choices if choice != option.default))
    if option.type == "int":
        return str(max(1, option.ge or 0, (option.default if isinstance(option.default, int) else 4) + 1))
    texts = {"budget": "90s", "checkpoint_every": "5min"}
    return texts.get(option.name, "0.375" if option.type == "float" else "some-text")


@pytest.mark.parametrize("method", ["simclr", "pca", "vae"])
def test_every_option_of_fit_reaches_fit(tmp_path, monkeypatch, method):
    entry, got = catalogue.find(method), dict[str, Any]()

    def record(name: str, source: str, **given: Any) -> None:
        got.update(given)
        raise Reached

    monkeypatch.setattr("salience.training.fit", record)
    for option in (*entry.options, *fit_options(entry)):
        if option.name in NOT_FROM_CONFIG:
            continue
        flag, typed = f"--{option.name.replace('_', '-')}", other_than_default(option)
        argv = ["fit", method, "digits", flag, *([] if option.type == "bool" else [typed])]
        command, bound, _ = make_app(argv).parse_args(argv, exit_on_error=False, print_error=False)
        with pytest.raises(Reached):
            command(*bound.args, **bound.kwargs)
        expected: Any = True if option.type == "bool" else option.read(typed)
        assert got == {option.name: expected}
        got.clear()
