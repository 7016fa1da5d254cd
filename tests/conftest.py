"""Nothing a test prepares reaches the user's own cache."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a job a script runs in the background; tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on how busy the machine is; those of the threads put their own load here."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
