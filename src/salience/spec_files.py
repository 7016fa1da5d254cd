"""Large parts of a spec, such as a tokenizer, which a run keeps as JSON files beside its config.

config.yaml then has the name of the file in their place. The specs of joined sources are within the spec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salience.errors import UserError
from salience.modalities import find
from salience.untrusted import Damaged, read_json

ENDING = ".json"


def take_out(spec: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """Return the spec with names of files in place of its large parts, and the text of each file by name."""
    plain, files = dict(spec), dict[str, str]()
    for name in _large(spec):
        file = f"{prefix}{name}{ENDING}"
        files[file] = json.dumps(spec[name], ensure_ascii=False) + "\n"
        plain[name] = file
    if isinstance(parts := spec.get("parts"), Mapping):
        taken = {name: take_out(part, f"{prefix}{name}.") for name, part in parts.items()}
        plain["parts"] = {name: part for name, (part, _) in taken.items()}
        for _, more in taken.values():
            files |= more
    return plain, files


def put_back(spec: Mapping[str, Any], folder: Path, prefix: str = "") -> dict[str, Any]:
    """Return the spec with its large parts, read from the files beside the config.

    Raises:
        Damaged: A file is missing or not valid JSON.
    """
    plain = dict(spec)
    for name in _large(spec):
        file = f"{prefix}{name}{ENDING}"
        if plain[name] != file:
            continue
        if not (folder / file).is_file():
            raise Damaged(f"{file} beside it is missing")
        try:
            plain[name] = read_json(folder / file)
        except Damaged as problem:
            raise Damaged(f"{file} beside it: {problem}") from None
    if isinstance(parts := spec.get("parts"), Mapping):
        plain["parts"] = {
            name: put_back(part, folder, f"{prefix}{name}.") if isinstance(part, Mapping) else part
            for name, part in parts.items()
        }
    return plain


def _large(spec: Mapping[str, Any]) -> list[str]:
    """Return the names of the parts that have files of their own."""
    try:
        return [name for name in find(spec["modality"]).spec.files if name in spec]
    except (UserError, KeyError, TypeError):  # a damaged spec: reading it reports the reason
        return []
