"""Nothing a test prepares reaches the user's own cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("SALIENCE_CACHE")
    os.environ["SALIENCE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SALIENCE_CACHE"]
    else:
        os.environ["SALIENCE_CACHE"] = before
