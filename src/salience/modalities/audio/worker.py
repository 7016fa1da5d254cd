"""The process that decodes recordings. `reader` runs it as a script; it needs only numpy, soundfile and soxr.

A damaged file can make libsndfile read outside its memory, which crashes the process. This process isolates the crash.

Each line of stdin is one request in JSON: {"path": text or null, "size", "rate": samples per second or null, "channel",
"memory"}; without a path, `size` bytes of the file follow. Without a rate, the answer is one line of JSON with "error",
"rate", "channels" and "frames". With a rate, blocks of samples come first, each preceded by its number as 4 bytes; a
block of 0 samples ends them; then the line, with "error" and "flags".
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

BLOCK = 1 << 16  # samples
UNKNOWN_LENGTH = b"\xff\xff\xff\xff"  # of a data chunk: libsndfile then reads to the end of the file
MOST_CHUNKS = 4096
MOST_BYTES = 0xFFFFFFFF
CANCELLED = 1e-3  # power of the mean of the channels over the mean of their powers


class Patched(io.RawIOBase):
    """A WAV file whose data chunk has an unknown length."""

    def __init__(self, file: BinaryIO, at: int) -> None:
        self.file, self.at = file, at

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer: Any) -> int:
        start = self.file.tell()
        data = bytearray(self.file.read(len(buffer)))
        for byte in range(4):
            if 0 <= self.at + byte - start < len(data):
                data[self.at + byte - start] = UNKNOWN_LENGTH[byte]
        buffer[: len(data)] = data
        return len(data)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and with it the pipe
    output, requests = sys.stdout.buffer, sys.stdin.buffer
    for line in requests:
        request = json.loads(line)
        if request.get("memory"):
            _limit_memory(request["memory"])
        data = io.BytesIO(requests.read(request["size"])) if request["path"] is None else None
        answer: dict[str, Any] = {"error": None}
        try:
            with contextlib.ExitStack() as stack:
                file = data or stack.enter_context(open(os.fsencode(request["path"]), "rb"))  # noqa: PTH123
                answer |= _answer(file, request, output)
        except BrokenPipeError:
            return
        except Exception as problem:  # libsndfile and Python raise whatever the damage provokes
            answer["error"] = _said(problem)
        if request["rate"] is not None:
            output.write(struct.pack("<I", 0))
        output.write(json.dumps(answer).encode() + b"\n")
        output.flush()


def _answer(file: BinaryIO, request: dict[str, Any], output: BinaryIO) -> dict[str, Any]:
    import soundfile

    wrong = wrong_length(file)
    if wrong is not None and file.seek(0, io.SEEK_END) - wrong > MOST_BYTES:
        raise ValueError("it is longer than the 4 GB that its header can express; convert it to RF64 or FLAC")
    file.seek(0)
    with soundfile.SoundFile(file if wrong is None else Patched(file, wrong)) as sound:
        if request["rate"] is None:
            return {"rate": sound.samplerate, "channels": sound.channels, "frames": sound.frames}
        flags = _decode(sound, request["rate"], request["channel"], output)
    return {"flags": sorted(flags if wrong is None else {*flags, "length"})}


def _decode(sound: Any, rate: int, channel: str, output: BinaryIO) -> set[str]:
    """Write the samples of one channel at this rate. Return flags: "early", "cancelled", "clipped", "silent"."""
    import soxr

    same = sound.samplerate == rate
    stream = None if same else soxr.ResampleStream(sound.samplerate, rate, 1, dtype="float32", quality="HQ")
    flags, read, loudest, powers = set[str](), 0, 0.0, np.zeros(2)
    while True:
        block, ended = _next(sound)
        read += len(block)
        if not np.isfinite(block).all():
            raise ValueError("it contains values that are not finite")
        mono = _one(block, channel)
        powers += float(np.square(mono).sum()), float(np.square(block).mean(axis=1).sum()) if block.size else 0.0
        samples = mono if stream is None else stream.resample_chunk(mono, last=ended)
        loudest = max(loudest, float(np.abs(samples).max(initial=0.0)))
        _send(samples, output)
        if ended:
            break
    flags |= {"early"} if read < sound.frames else set()
    flags |= {"cancelled"} if sound.channels > 1 and powers[0] < CANCELLED * powers[1] else set()
    flags |= {"clipped"} if loudest > 1.0 + 1e-3 else set()
    return flags | ({"silent"} if read and powers[1] == 0 else set())


def _next(sound: Any) -> tuple[np.ndarray, bool]:
    """Return the next samples [t channels], and whether there are no more. A file that breaks off ends there."""
    import soundfile

    try:
        block = sound.read(BLOCK, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        if not sound.tell():
            raise
        block = np.zeros((0, sound.channels), np.float32)
    return block, not len(block)


def _one(block: np.ndarray, channel: str) -> np.ndarray:
    """Return one channel [t]: the mean of all, or the one asked for.  block: [t channels]"""
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    if channel == "mix":
        return block.mean(axis=1)
    number = {"left": 1, "right": 2}.get(channel) or int(channel)
    if number > block.shape[1]:
        raise ValueError(f"it has {block.shape[1]} channels, but no channel {number}")
    return np.ascontiguousarray(block[:, number - 1])


def _send(samples: np.ndarray, output: BinaryIO) -> None:
    if len(samples):
        stored = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
        output.write(struct.pack("<I", len(stored)) + stored.tobytes())


def wrong_length(file: BinaryIO) -> int | None:
    """Return the position of the length of a WAV file's data chunk, if it is wrong.

    The length is wrong if it goes beyond the file, or if what follows the chunk is no chunk: the file was streamed,
    broke off, or is longer than the 4 GB that the header can express.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
        return None
    at = 12
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return None
        length = int.from_bytes(head[4:], "little")
        end = at + 8 + length + length % 2
        if head[:4] == b"data":
            whole = end - length % 2 <= size and (end >= size or _is_chunk(file, end, size))
            return None if whole else at + 4
        at = end
    return None


def _is_chunk(file: BinaryIO, at: int, size: int) -> bool:
    """Return whether a chunk starts here: a name of printable characters, and a length within the file."""
    file.seek(at)
    head = file.read(8)
    if len(head) < 8:
        return True  # a few bytes of padding
    return all(32 <= byte < 127 for byte in head[:4]) and at + 8 + int.from_bytes(head[4:], "little") <= size + 1


def _said(problem: Exception) -> str:
    text = str(getattr(problem, "error_string", "") or problem or type(problem).__name__)
    if isinstance(problem, OSError) and problem.strerror:
        text = problem.strerror
    return "it is not a recording in a supported format" if "not recognised" in text else " ".join(text.split())


def _limit_memory(limit: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # a limit the system does not know or allow
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


if __name__ == "__main__":
    main()
