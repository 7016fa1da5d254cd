"""Every verb of Salience, one line each.

The command line, what it refuses before it loads anything heavy, the public names of the package and the reference
documentation come from this table. A new verb is a file with its function, and a line here. Nothing is imported until a
verb runs.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb.

    name: as it is typed
    function: "module:name", the Python function that does the work
    reads: what it is given: "method", "run", "store", "run or store", "source", "file"
    writes: what `--out` names: "run", "folder", "file", or "file or store"; "" where there is no such option
    own_source: the argument that is the source the run was trained on, where it is left out; "" for none
    command: "module:name" of what the command line calls; "" makes it from the function's signature and docstring
    needs: the function that the run's method must have, and the words for what it is needed for; () for none
    images: what is for images alone, in words; "" where any data will do
    labelled: the source is opened with its labels, of the column that `--labels` names
    computes: it takes `--threads`
    public: `salience.NAME` is the function, under the function's name
    """

    name: str
    function: str
    reads: tuple[str, ...] = ()
    writes: str = ""
    own_source: str = ""
    command: str = ""
    needs: tuple[str, str] | tuple[()] = ()
    images: str = ""
    labelled: bool = False
    computes: bool = True
    public: bool = True


def _made(name: str, *reads: str, own_source: str = "source", **more: Any) -> Verb:
    """A verb of a run whose command is made from its function, verbs/NAME.py, and that leaves a folder of results."""
    plain = name.replace("-", "_")
    return Verb(
        name=name, function=f"salience.verbs.{plain}:{plain}", reads=reads or ("run", "source"), writes="folder",
        own_source=own_source, **more,
    )  # fmt: skip


CLI = "salience.cli.verbs"
STORES = "salience.cli.stores"
TABLE = (
    Verb(name="methods", function="salience.catalogue:entries", reads=("method",), command=f"{CLI}:methods",
         computes=False, public=False),
    Verb(name="views", function="salience.verbs.preview:preview", reads=("method", "source"), writes="file",
         command=f"{CLI}:views"),
    Verb(name="data", function="salience.verbs.describe:describe", reads=("source",), command=f"{CLI}:data"),
    Verb(name="fit", function="salience.training.fit:fit", reads=("method", "source"), writes="run",
         command="salience.cli.fit:fit_app"),
    Verb(name="embed", function="salience.verbs.export:embed_to", reads=("run", "source"), writes="file or store",
         own_source="source", labelled=True, command=f"{CLI}:embed"),
    Verb(name="evaluate", function="salience.evaluation.protocol:evaluate", reads=("run", "source"), own_source="on",
         labelled=True, command=f"{CLI}:evaluate"),
    Verb(name="doctor", function="salience.verbs.doctor:doctor", reads=("run",), command=f"{CLI}:doctor",
         computes=False),
    Verb(name="compare", function="salience.evaluation.compare:compare", reads=("run",), command=f"{CLI}:compare",
         computes=False),
    Verb(name="predict", function="salience.verbs.predict:predict", reads=("run", "source", "file"), writes="file",
         own_source="source", command=f"{CLI}:predict"),
    Verb(name="search", function="salience.verbs.search:search", reads=("store", "file"), writes="folder",
         command=f"{STORES}:search"),
    Verb(name="cluster", function="salience.verbs.cluster:cluster", reads=("store",), writes="folder",
         command=f"{STORES}:cluster"),
    Verb(name="duplicates", function="salience.verbs.duplicates:duplicates", reads=("store",), writes="folder",
         command=f"{STORES}:duplicates"),
    _made("reconstruct", needs=("decode", "reconstruct")),
    _made("denoise", needs=("decode", "denoise")),
    _made("sample", own_source="", needs=("sample", "sample")),
    _made("interpolate", needs=("decode", "interpolate"), images="interpolate"),
    _made("arithmetic", needs=("decode", "do arithmetic"), images="arithmetic"),
    _made("anomalies", "run or store", "source", labelled=True),
    _made("super-resolve", needs=("enlarge", "super-resolve"), images="super-resolution"),
    Verb(name="explore", function="salience.explorer:explore", reads=("run or store",),
         command="salience.cli.explore:explore"),
    Verb(name="demo", function="salience.verbs.demo:demo", writes="run", command=f"{CLI}:demo", public=False),
)  # fmt: skip


def names() -> tuple[str, ...]:
    """As they are typed, in the order of help and documents."""
    return tuple(verb.name for verb in TABLE)


def find(name: str) -> Verb | None:
    """The verb of that name."""
    return next((verb for verb in TABLE if verb.name == name), None)


def public() -> dict[str, str]:
    """Public name -> module, of the verbs' functions."""
    places = (verb.function.split(":") for verb in TABLE if verb.public)
    return {name: module for module, name in places}


def load(place: str) -> Any:
    """What "module:name" names, imported now."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
