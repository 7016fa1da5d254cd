"""A run evaluated on something else keeps its earlier report beside the latest, as report-N.json and report-N.html."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salience.files import atomic
from salience.source_names import with_split
from salience.untrusted import read_json

LATEST = "report"


def keep_earlier(folder: Path, about: Mapping[str, Any]) -> str | None:
    """Copies the report in `folder` aside where it is about other data, to the place of an older one about the same.

    about: what the report that will take its place is about
    -> what to tell the user; None where there was none, or one about the same, which the new one supersedes
    """
    known = read_about(folder / f"{LATEST}.json")
    if known is None or known == json.loads(json.dumps(about)):
        return None
    name = f"{LATEST}-{_number(folder, known)}"
    for suffix in (".html", ".json"):  # copied, so that the latest is never missing; the page first, as when written
        if (folder / f"{LATEST}{suffix}").exists():
            with atomic(folder / f"{name}{suffix}") as temporary:
                shutil.copyfile(folder / f"{LATEST}{suffix}", temporary)
    return f"the earlier report, on {_subject(known)}, is kept as {folder / name}.html and .json"


def read_about(path: Path) -> dict[str, Any] | None:
    """None where there is no report that can be read: a damaged one is not worth keeping."""
    try:
        about = read_json(path)["about"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return about if isinstance(about, dict) else None


def _number(folder: Path, about: Mapping[str, Any]) -> int:
    taken = [0]
    for path in folder.glob(f"{LATEST}-*"):
        if match := re.fullmatch(rf"{LATEST}-(\d+)\.(json|html)", path.name):
            if match[2] == "json" and read_about(path) == about:
                return int(match[1])
            taken.append(int(match[1]))
    return max(taken) + 1


def _subject(about: Mapping[str, Any]) -> str:
    test = about.get("test")
    name, split = (test.get("name"), test.get("split")) if isinstance(test, Mapping) else (None, None)
    return with_split(str(name), split) if name and split else str(about.get("on"))
