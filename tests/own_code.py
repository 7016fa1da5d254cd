"""The example package, installed without pip and without a network, and its parts as single files."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "example_package"
METHOD = PACKAGE / "salience_example" / "method.py"
PARTS = PACKAGE / "salience_example" / "parts.py"


def install(folder: Path) -> Path:
    """Put the package with its metadata into a folder, as pip would; returns the folder for the search path."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copytree(PACKAGE / "salience_example", folder / "salience_example")
    info = folder / f"salience_example-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {place}" for name, place in offered.items())
        for group, offered in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(lines) + "\n")
    return folder


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """No part of the package is imported when a test begins."""
    for name in [name for name in sys.modules if name.startswith(("salience_example", "salience_code_"))]:
        monkeypatch.delitem(sys.modules, name)
