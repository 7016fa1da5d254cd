"""One line of the table is a verb: its command, help, early refusals and public name."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from salience.cli import main
from salience.cli.verbs import make_app
from salience.option import CatalogueError
from salience.verbs import table
from salience.verbs.signature import read_signature
from salience.verbs.table import Verb

TOY = '''
"""A verb of one file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from salience.reading import AS_FOUND, Reading


@dataclass
class Found:
    values: dict

    def to_dict(self):
        return self.values

    def text(self):
        return f"found {self.values}"


def count_letters(
    run: Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    letter: str,
    k: Annotated[int, Ge(1)] = 3,
    start: str | int | None = None,
    case: Literal["upper", "lower"] = "lower",
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Found:
    """Count the letters of a run.

    letter: Which one.
    k: How many to
        count.
    start: Where to begin.
    case: Its form.
    """
    return Found(dict(run=str(run), source=source, out=str(out), letter=letter, k=k, start=start, case=case))
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, where the toy verb is registered by one line."""
    (tmp_path / "toy_verb.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    line = Verb(
        name="count-letters", function="toy_verb:count_letters", reads=("run", "source"), writes="folder",
        own_source="source",
    )  # fmt: skip
    monkeypatch.setattr(table, "TABLE", (*table.TABLE, line))
    yield tmp_path
    sys.modules.pop("toy_verb", None)


def a_run(path: Path, source: str | None) -> Path:
    path.mkdir()
    named = "null" if source is None else source
    text = f"method: pca\noptions: {{}}\nspec: {{}}\nsource: {named}\nseed: 0\nrows: 3\n"
    (path / "config.yaml").write_text(text)
    return path


def test_a_new_verb_runs_with_its_options_and_prints_what_it_returns(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(toy / "run", "digits")
    words = ["count-letters", str(run), "digits", "--letter", "e", "-k", "5", "--from", "x", "--case", "upper"]
    assert main([*words, "--json"]) == 0
    found = capsys.readouterr().out
    for expected in ('"letter": "e"', '"k": 5', '"start": "x"', '"case": "upper"', '"source": "digits"'):
        assert expected in found
    assert '"out": "runs/count-letters-1"' in found
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("found {")


def test_help_of_a_new_verb_is_its_docstring(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["count-letters", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for expected in ("Count the letters of a run.", "Which one.", "How many to count. (>= 1)", "--from", "--threads"):
        assert expected in shown
    assert main(["--help"]) == 0
    assert "Count the letters of a run." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nowhere digits --letter e", "RUN: nowhere does not exist"),
        ("run no/such/place --letter e", "SOURCE: no/such/place does not exist"),
        ("run digits --letter e --out run", "--out: run exists"),
        ("memory --letter e", "SOURCE: none was given, and the run was fitted to data in memory; give the data"),
        ("gone --letter e", "SOURCE: no/such/place does not exist"),
        ("run digits", "--letter: a value is missing"),
        ("run digits --letter e -k 0", "-k: 0 is out of range; it must be >= 1"),
        ("run digits --letter e --case Title", "--case: 'Title' is not one of upper, lower"),
    ],
)
def test_a_new_verb_is_refused_early_like_the_others(
    toy: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, source in (("run", "digits"), ("memory", None), ("gone", "no/such/place")):
        a_run(toy / name, source)
    assert main(["count-letters", *words.split()]) == 2
    assert said in capsys.readouterr().err
    assert "toy_verb" not in sys.modules


def test_a_new_verb_is_suggested_and_public(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["count-leters"]) == 2
    assert "did you mean count-letters?" in capsys.readouterr().err
    script = f"""
        import importlib, salience, salience.verbs.table as table
        table.TABLE += (table.Verb(name="count-letters", function="toy_verb:count_letters"),)
        importlib.reload(salience)
        assert "count_letters" in salience.__all__
        print(salience.count_letters.__doc__, {str(toy)!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, cwd=toy)
    assert done.stdout.startswith("Count the letters of a run."), done.stderr


def test_every_line_names_what_exists() -> None:
    for verb in table.TABLE:
        assert callable(table.load(verb.function))
        assert not verb.command or callable(table.load(verb.command))


def test_names_are_given_once_and_words_are_known() -> None:
    assert len(set(table.names())) == len(table.TABLE)
    reads = {"method", "run", "store", "run or store", "source", "file"}
    for verb in table.TABLE:
        assert set(verb.reads) <= reads
        assert verb.writes in ("", "run", "folder", "file", "file or store")
        app = make_app([verb.name])
        assert verb.name in app


@pytest.mark.parametrize("verb", [verb for verb in table.TABLE if verb.own_source], ids=lambda verb: verb.name)
def test_a_source_that_may_be_left_out_may_be_left_out_in_python_too(verb: Verb) -> None:
    parameters = inspect.signature(table.load(verb.function)).parameters
    assert parameters[verb.own_source].default is None


def test_what_cannot_be_typed_is_a_mistake_of_the_verbs_author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_verb.py").write_text("def odd(run: str, *, shape: tuple[int, int] = (1, 2)): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CatalogueError, match=r"odd_verb:odd\(shape\): tuple\[int, int\] is no builtin"):
        read_signature("odd_verb:odd")
    for function, said in (("odd_verb:other", "no such function"), ("no_such_module:f", "no such module")):
        with pytest.raises(CatalogueError, match=said):
            read_signature(function)
