"""Download a file once: continued where it was broken off, checked, and in its place only when whole.

Of several processes that want the same file, one downloads and the others wait for it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from salience.errors import UserError
from salience.fields.space import require_space
from salience.locks import hold
from salience.progress import progress_bar

PIECE = 1 << 20
TIMEOUT = 60


def fetch(url: str, path: Path, sha256: str, *, progress: bool = True) -> Path:
    """`path`, downloaded from `url` unless it is there. Raises UserError where that fails or the content is not right.

    What has come is kept beside it as .part when the connection breaks, and continued the next time.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    waiting = f"waiting: another process is downloading {path.name}" if progress else None
    with hold(path.with_name(path.name + ".lock"), waiting=waiting, optional=True):
        if not path.exists():  # another process may have been at it meanwhile
            _fetch(url, path, part, sha256, progress)
    return path


def _fetch(url: str, path: Path, part: Path, sha256: str, progress: bool) -> None:
    continued = part.exists() and part.stat().st_size > 0
    try:
        _download(url, part, progress)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"source: cannot download {url}: {reason}; check the network, or put the file at {path}"
        ) from error
    if _sha256(part) == sha256:
        _flush(part)
        part.replace(path)
        return
    part.unlink()
    if not continued:
        raise UserError(
            f"source: {url} does not have the expected SHA-256 checksum; it was deleted, try another network"
        )
    _fetch(url, path, part, sha256, progress)  # what was there already may have been of another file


def _flush(path: Path) -> None:
    """What was written is on the disk when this returns."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _download(url: str, part: Path, progress: bool) -> None:
    """Appends to `part` what it lacks; starts again where the server cannot continue."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "salience"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is left to send: the part is whole, or wrong, which its checksum tells
            return
        raise
    with response:
        if response.status != 206:
            have = 0
        rest = int(response.headers.get("Content-Length") or 0)
        require_space(part.parent, rest, f"source: downloading {url}")
        with part.open("ab" if have else "wb") as file, progress_bar(rest or None, part.stem, progress, "B") as bar:
            while piece := response.read(PIECE):
                file.write(piece)
                bar.update(len(piece))
        received = part.stat().st_size - have
    if rest and received < rest:
        raise http.client.IncompleteRead(b"", rest - received)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
