"""Where prepared data lies, and how a folder of it appears there whole or not at all.

CACHE/prepared/<location>-<key>/   manifest.json  x.bin  labels.npy  groups.npy  kept.npy  ids.bin  ids.npy  seal.json
CACHE/downloads/

seal.json holds, for each of the other files, a checksum and the state it had on the disk when that was taken. A file in
the same state is taken as whole without being read, so that opening stays fast; any other is read and compared.
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
    """The folder for prepared data and downloads: as given, or by SALIENCE_CACHE, XDG_CACHE_HOME, ~/.cache."""
    if given is not None:
        return Path(given).expanduser()
    if named := os.environ.get("SALIENCE_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "salience"


@contextmanager
def prepared_folder(place: Path) -> Iterator[Path]:
    """A temporary folder beside `place`, which takes that name on a clean exit and is removed on any other.

    Where another process was faster, its folder stays. A full disk raises UserError.
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
    """sha256: hexadecimal, of the text `before` and then the file"""

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
    """Writes down what the files in `folder` hold.

    known: checksums that need not be taken;  written: those files were just written, so they need no comparison either
    """
    sealed = {}
    for path in _visible(folder):
        state = mark_of_stat(path.stat()) if written or path.name not in known else ""
        sealed[path.name] = {"state": state, **asdict(known.get(path.name) or Checksum.of(path))}
    write_text(folder / SEAL, json.dumps(sealed, indent=1))


def is_sealed(folder: Path) -> bool:
    return (folder / SEAL).exists()


def is_whole(folder: Path) -> bool:
    """Whether the files in a sealed `folder` hold what they did when it was sealed."""
    sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    states = {path.name: mark_of_stat(path.stat()) for path in _visible(folder)}
    if set(sealed) != set(states):
        return False
    touched = [name for name, known in sealed.items() if states[name] != known["state"]]
    for name in touched:
        if Checksum.of(folder / name, sealed[name]["before"]).sha256 != sealed[name]["sha256"]:
            return False
    if touched:  # copied or restored, and whole: not to be read again the next time
        with suppress(OSError):  # of a cache that cannot be written
            write_text(
                folder / SEAL,
                json.dumps({name: {**known, "state": states[name]} for name, known in sealed.items()}, indent=1),
            )
    return True


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != SEAL and not path.name.startswith(".")]


def remove_others(place: Path) -> None:
    """Deletes what was prepared before of the same location. A process that has it mapped keeps its pages."""
    location = place.name.split("-")[0]
    for other in place.parent.glob(f"{location}-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def _prefix() -> str:
    return f".{socket.gethostname()}.{os.getpid()}."


def _remove_leftovers(folder: Path) -> None:
    """What processes of this machine that are gone left half-written."""
    for leftover in folder.glob(f".{socket.gethostname()}.*"):
        process = leftover.name.removeprefix(f".{socket.gethostname()}.").split(".")[0]
        if process.isdigit() and not Path(f"/proc/{process}").exists() and Path("/proc/self").exists():
            shutil.rmtree(leftover, ignore_errors=True)
