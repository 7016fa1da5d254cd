"""Print the result of a cell as JSON lines, for both environments of the benchmarks.

Imports no salience, because the peers' environment uses it too.
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

SUMMARY = "summary"


def emit(kind: str, **values: Any) -> None:
    """One JSON line on stdout. The last line of every script has kind "summary"."""
    print(json.dumps({"kind": kind, **values}), flush=True)


def versions(*packages: str) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}
