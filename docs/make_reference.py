"""Writes docs/reference from the table of verbs, the configuration and the catalogue of methods.

python docs/make_reference.py            writes the pages
python docs/make_reference.py --check    fails where a page is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import docstring_parser
from cyclopts import App

from salience.cli.verbs import make_app
from salience.config import ANY_KIND, BY_GRADIENT, CONFIG_FILE, KINDS, DataConfig, ModelConfig, TrainingPlan
from salience.option import Option
from salience.verbs import table

FOLDER = Path(__file__).parent / "reference"
MADE = "<!-- Made by docs/make_reference.py; do not edit. -->"
READS = {"run or store": "a run or a store", "file": "a file", "source": "a source", "method": "a method"}
READS |= {"run": "a run", "store": "a store"}


def cells(*texts: str) -> str:
    """One line of a table of Markdown."""
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"


def rows(header: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [cells(*header), cells(*["---"] * len(header)), *(cells(*line) for line in lines)]


# --- fit ---------------------------------------------------------------------------------------------------------


def values_of(option: Option) -> str:
    """What an option may be."""
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    named = {"int": "integer", "float": "number", "bool": "switch", "str": "text", "any": "text", "name": "text"}
    return ", ".join(filter(None, (named.get(option.type, option.type), option.bounds)))


def option_row(option: Option, in_python: bool = True) -> tuple[str, ...]:
    default = "" if option.default is None else f"`{option.default}`"
    python = f"`{option.name}`" if in_python else ""
    return f"`--{option.name.replace('_', '-')}`", python, values_of(option), default, option.meaning


def fit_page() -> Iterator[str]:
    """The options of `fit` and the names in config.yaml."""
    header = ("Command line", "Python", "Values", "Default", "Meaning")
    yield "# Options of `fit`\n"
    yield "Each option has the same values, default and checks on the command line and in Python."
    yield "`salience methods NAME` shows the options of one method.\n"
    yield "## Every method\n"
    yield from rows(header, [*map(option_row, ANY_KIND), option_row(CONFIG_FILE, in_python=False)])
    yield "\n## Methods trained by gradient\n"
    yield from rows(header, map(option_row, BY_GRADIENT))
    yield "\n## config.yaml\n\nThe configuration of a run, by flat names. In Python: `Run(path).config.data.rows`."
    for title, part in (("data", DataConfig), ("model", ModelConfig), ("training", TrainingPlan)):
        yield f"\n### {title}\n"
        yield from rows(("Name", "Holds"), ((f"`{one.name}`", KINDS[one.name].expected) for one in fields(part)))


# --- verbs -------------------------------------------------------------------------------------------------------


def commands_page() -> Iterator[str]:
    """Every verb with its arguments and options."""
    yield "# Commands\n"
    listed = [
        (
            f"[`{verb.name}`](#{verb.name})",
            summary(make_app([verb.name]), verb.name),
            ", ".join(READS[one] for one in verb.reads),
            f"a {verb.writes}" if verb.writes else "",
            f"`salience.{verb.function.partition(':')[2]}`" if verb.public else "",
        )
        for verb in table.TABLE
    ]
    yield from rows(("Command", "What it does", "Reads", "Writes", "Python"), listed)
    for verb in table.TABLE:
        yield f"\n## {verb.name}\n"
        yield summary(make_app([verb.name]), verb.name)
        if verb.own_source:
            yield "\nWithout a source, this command uses the source that the run was trained on, and says so."
        yield ""
        if verb.name == "fit":
            yield "See [the options of `fit`](fit.md)."
            continue
        arguments = make_app([verb.name])[verb.name].assemble_argument_collection()
        shown = [one for one in arguments if one.parse and not one.children and not names_reading(one)]
        meanings = documented(verb)
        lines = (argument_row(one, meanings.get(one.field_info.name, "")) for one in shown)
        yield from rows(("Argument", "Meaning", "Default"), lines)


def summary(app: App, name: str) -> str:
    return app[name].help.partition("\n\n")[0].replace("\n", " ").strip()


def names_reading(argument: Any) -> bool:
    """Whether it says how a source is read: the same options for every verb, listed in the README."""
    return argument.keys != ()


def documented(verb: table.Verb) -> dict[str, str]:
    """Argument -> its help, of a command that says it in its docstring."""
    if not verb.command:
        return {}
    parsed = docstring_parser.parse_from_object(table.load(verb.command))
    return {one.arg_name: one.description or "" for one in parsed.params}


def argument_row(argument: Any, meaning: str) -> tuple[str, str, str]:
    """meaning: where the argument itself has no help"""
    default = argument.field_info.default
    plain = "" if default in (None, False) or not isinstance(default, str | int | float) else f"`{default}`"
    choices = argument.get_choices()
    values = f" One of {', '.join(choices)}." if choices else ""
    names = ", ".join(f"`{name}`" for name in argument.names)
    return names, f"{argument.parameter.help or meaning}{values}".strip(), "required" if argument.required else plain


PAGES = {"fit.md": fit_page, "commands.md": commands_page}


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    stale = []
    for name, page in PAGES.items():
        text = "\n".join([MADE, "", *page()]) + "\n"
        path = FOLDER / name
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(str(path))
        elif not check:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"not up to date: {', '.join(stale)}; run: python docs/make_reference.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
