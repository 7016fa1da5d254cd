"""The cache of prepared data. A folder appears in it complete or not at all.

CACHE/prepared/<location>-<key>/   manifest.json  x.bin  labels.npy  groups.npy  kept.npy  ids.bin  ids.npy  seal.json
CACHE/downloads/

seal.json contains a checksum of each other file, and its state on the disk at that time. A file in the same state is
trusted without reading it, so that opening is fast; any other file is read and compared.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from salience.errors import UserError
from salience.fields.source import mark_of_stat
from salience.fields.space import REMEDY
from salience.files import new_folder, write_text

SEAL = "seal.json"
PIECE = 1 << 20  # bytes


def cache_folder(given: Path | str | None = None) -> Path:
    """Return the cache folder: the given one, otherwise from SALIENCE_CACHE, XDG_CACHE_HOME or ~/.cache."""
    if given is not None:
        return Path(given).expanduser()
    if named := os.environ.get("SALIENCE_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "salience"


@contextmanager
def prepared_folder(place: Path) -> Iterator[Path]:
    """Make a temporary folder next to `place`. A clean exit renames it to `place`, an exception removes it.

    If another process created `place` first, that folder is kept.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    with ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(place.parent)
            temporary = stack.enter_context(new_folder(place, check=lambda _: None, prefix=_prefix()))
        except OSError as error:
            raise UserError(
                f"cache: cannot write to {place.parent}: {error.strerror}; set SALIENCE_CACHE to a writable folder"
            ) from error
        try:
            yield temporary
            stack.close()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(f"cache: no space left at {place.parent}; {REMEDY}") from error
            raise


@dataclass(frozen=True)
class Checksum:
    """A checksum. `sha256`: hexadecimal, of the text `before` followed by the content of the file."""

    sha256: str
    before: str = ""

    @classmethod
    def of(cls, path: Path, before: str = "") -> Checksum:
        digest = hashlib.sha256(before.encode())
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        return cls(digest.hexdigest(), before)


def seal(folder: Path, known: Mapping[str, Checksum], *, written: bool) -> None:
    """Write the checksums of the files in `folder` to seal.json.

    Args:
        folder: The folder.
        known: Checksums that are already known.
        written: Whether the files with known checksums were just written, so that they need no comparison.
    """
    sealed = {}
    for path in _visible(folder):
        state = mark_of_stat(path.stat()) if written or path.name not in known else ""
        sealed[path.name] = {"state": state, **asdict(known.get(path.name) or Checksum.of(path))}
    write_text(folder / SEAL, json.dumps(sealed, indent=1))


def is_sealed(folder: Path) -> bool:
    return (folder / SEAL).exists()


def is_whole(folder: Path) -> bool:
    """Return whether the files in a sealed `folder` are unchanged."""
    sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    states = {path.name: mark_of_stat(path.stat()) for path in _visible(folder)}
    if set(sealed) != set(states):
        return False
    touched = [name for name, known in sealed.items() if states[name] != known["state"]]
    for name in touched:
        if Checksum.of(folder / name, sealed[name]["before"]).sha256 != sealed[name]["sha256"]:
            return False
    if touched:  # copied or restored, but unchanged: store the new state, so that they are not read again
        with suppress(OSError):  # a read-only cache
            write_text(
                folder / SEAL,
                json.dumps({name: {**known, "state": states[name]} for name, known in sealed.items()}, indent=1),
            )
    return True


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != SEAL and not path.name.startswith(".")]


def remove_others(place: Path) -> None:
    """Delete older prepared data of the same source. A process that has them memory-mapped keeps its pages."""
    location = place.name.split("-")[0]
    for other in place.parent.glob(f"{location}-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def _prefix() -> str:
    return f".{socket.gethostname()}.{os.getpid()}."


def _remove_leftovers(folder: Path) -> None:
    """Delete incomplete folders of processes of this machine that no longer run."""
    for leftover in folder.glob(f".{socket.gethostname()}.*"):
        process = leftover.name.removeprefix(f".{socket.gethostname()}.").split(".")[0]
        if process.isdigit() and not Path(f"/proc/{process}").exists() and Path("/proc/self").exists():
            shutil.rmtree(leftover, ignore_errors=True)
