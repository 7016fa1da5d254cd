"""Ways to damage a file: of any format, of texts, and inside of compressed and checksummed ones."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

Mutator = Callable[[bytes, np.random.Generator, Sequence[bytes]], bytes]

BOUNDARIES = [
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
]
WORDS = [
    *(b"", b"0", b"-1", b"-5", b"1e999", b"1e308", b"nan", b"-inf", b"null", b"None", b"NA", b"true", b"many", b"?"),
    *(
        b"9" * 5000,
        b"99999999999999999999",
        b"0.1.2",
        b"1,5",
        b"12%",
        b"2024-13-45",
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ),
    *(
        b"'",
        b'"',
        b'""',
        b"\\",
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b",",
        b";",
        b"|",
        b":",
        b"#",
        b"- ",
        b"&a ",
        b"*a",
        b"<<: *a",
    ),
    *(
        b"[" * 3000,
        b"{" * 3000,
        b"{}",
        b"[]",
        b"[[[]]]",
        b'{"a": 1}',
        b"!!python/object:os.system",
        b"!!binary x",
        b"? x",
    ),
    *(
        "é".encode(),
        "é".encode("latin-1"),
        "\u202e".encode(),
        "१".encode(),
        b"$\\bad{$",
        b"=cmd|' /C calc'!A0",
        b"../../x",
    ),
    b"A" * 100_000,
]


def any_bytes(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """One to four changes that know nothing of the format."""
    for _ in range(rng.integers(1, 5)):
        content = BLIND[rng.integers(len(BLIND))](bytearray(content), rng, seeds)
    return content


def text(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """Words, lines and separators of a text replaced by awkward ones; every third time, any bytes."""
    if rng.random() < 1 / 3:
        return any_bytes(content, rng, seeds)
    for _ in range(rng.integers(1, 4)):
        content = _replace_word(content, rng) if rng.random() < 0.7 else _change_lines(content, rng)
    return content


def gzipped(inner: Mutator) -> Mutator:
    """Half of the time what is compressed is damaged, half of the time the compressed file."""

    def mutate(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
        if rng.random() < 0.5:
            return any_bytes(content, rng, seeds)
        return gzip.compress(inner(gzip.decompress(content), rng, [gzip.decompress(seed) for seed in seeds]), mtime=0)

    return mutate


def zipped(inner: Mutator) -> Mutator:
    """A member of an archive damaged, with right checksums; the entries of its directory; or any bytes."""

    def mutate(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
        choice = rng.integers(3)
        if choice == 0:
            return any_bytes(content, rng, seeds)
        if choice == 1:
            return _change_directory(content, rng)
        return _change_member(content, rng, seeds, inner)

    return mutate


def png(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """A chunk changed, dropped or repeated, with right checksums; every third time, any bytes."""
    if rng.random() < 1 / 3:
        return any_bytes(content, rng, seeds)
    chunks = list(_png_chunks(content))
    at = rng.integers(len(chunks))
    kind, data = chunks[at]
    if rng.random() < 0.8:
        compressed = kind == b"IDAT" and rng.random() < 0.5
        inside = zlib.decompress(data) if compressed and len(chunks) == 3 else data
        changed = any_bytes(inside, rng, seeds)
        chunks[at] = kind, zlib.compress(changed) if inside is not data else changed
    else:
        chunks[at : at + 1] = [] if rng.random() < 0.5 else [chunks[at]] * 2
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(parts)


def npy(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """Another type, order or shape in the header, of the right length; or any bytes."""
    if rng.random() < 0.4 or content[:6] != b"\x93NUMPY":
        return any_bytes(content, rng, seeds)
    length = struct.unpack("<H", content[8:10])[0]
    data = content[10 + length :]
    descriptions = [
        "<f8",
        ">f4",
        "|O",
        "<f2",
        "<c16",
        "<M8[ns]",
        "|b1",
        "<U5",
        "|V8",
        "<i8",
        "|u1",
        "<f16",
        "9",
        "<f99",
    ]
    shape = [int(rng.choice([0, 1, 3, 5, 12, 60, 2**31, 2**40, 2**62])) for _ in range(rng.integers(0, 6))]
    header = {
        "descr": str(rng.choice(descriptions)),
        "fortran_order": bool(rng.integers(2)),
        "shape": tuple(shape) if rng.random() < 0.7 else (12, 5),
    }
    if rng.random() < 0.1:
        header["descr"] = [("a", "<f4"), ("b", "<i2")]
    line = _replace_word(repr(header).encode(), rng) if rng.random() < 0.2 else repr(header).encode()
    line = line[:60_000] + b" " * (-len(line[:60_000]) % 16) + b"\n"
    return content[:8] + struct.pack("<H", min(len(line), 65535)) + line + data


def idx(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """Another type, number of axes or length of one; or any bytes."""
    if rng.random() < 0.4 or len(content) < 16:
        return any_bytes(content, rng, seeds)
    changed = bytearray(content)
    if rng.random() < 0.5:
        changed[2 + rng.integers(2)] = rng.integers(16)
    axis = int(rng.integers(4))
    changed[4 + 4 * axis : 8 + 4 * axis] = struct.pack(">I", int(rng.choice(BOUNDARIES[:13])) % 2**32)
    return bytes(changed)


def safetensors(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """The header as a text, of the right length; or any bytes."""
    if rng.random() < 0.5 or len(content) < 16:
        return any_bytes(content, rng, seeds)
    length = struct.unpack("<Q", content[:8])[0]
    header = text(content[8 : 8 + length], rng, seeds)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _flip(content: bytearray, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    for at in rng.integers(0, max(1, len(content)), rng.integers(1, 9)):
        if len(content):
            content[at] ^= 1 << rng.integers(8)
    return bytes(content)


def _overwrite(content: bytearray, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """An integer of one to eight bytes replaced by one at a boundary."""
    form = str(rng.choice(["B", "<H", ">H", "<I", ">I", "<Q", ">Q"]))
    size = struct.calcsize(form)
    if len(content) >= size:
        at = rng.integers(len(content) - size + 1)
        content[at : at + size] = struct.pack(form, BOUNDARIES[rng.integers(len(BOUNDARIES))] % 256**size)
    return bytes(content)


def _truncate(content: bytearray, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    return bytes(content[: rng.integers(len(content) + 1)])


def _extend(content: bytearray, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    return bytes(content) + rng.bytes(rng.integers(1, 200))


def _move_block(content: bytearray, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """A block deleted, repeated, zeroed, made random, or swapped with another."""
    first, last = sorted(rng.integers(0, len(content) + 1, 2))
    last = min(last, first + int(rng.choice([1, 4, 16, 64, 1024])))
    block = bytes(content[first:last])
    before, after = bytes(content[:first]), bytes(content[last:])
    to = rng.integers(len(after) + 1)
    ways = [b"", block * 2, block * 50, bytes(len(block)), rng.bytes(len(block))]
    if (choice := rng.integers(len(ways) + 1)) < len(ways):
        return before + ways[choice] + after
    return before + after[:to] + block + after[to:]


def _splice(content: bytearray, rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    other = seeds[rng.integers(len(seeds))]
    return bytes(content[: rng.integers(len(content) + 1)]) + other[rng.integers(len(other) + 1) :]


BLIND: list[Callable[[bytearray, np.random.Generator, Sequence[bytes]], bytes]] = [
    *(_flip, _flip, _overwrite, _overwrite, _truncate, _extend, _move_block, _move_block, _splice)
]


def _replace_word(content: bytes, rng: np.random.Generator) -> bytes:
    word = WORDS[rng.integers(len(WORDS))]
    cuts = [at for at, byte in enumerate(content) if not (chr(byte).isalnum() or byte in b"._-")]
    if not cuts or rng.random() < 0.1:
        at = int(rng.integers(len(content) + 1))
        return content[:at] + word + content[at:]
    start = cuts[rng.integers(len(cuts))]
    end = next((cut for cut in cuts if cut > start), len(content))
    return content[: start + 1] + word + content[end:]


def _change_lines(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    at, other = rng.integers(len(lines), size=2)
    choice = rng.integers(5)
    if choice == 0:
        del lines[at]
    elif choice == 1:
        lines.insert(at, lines[other])
    elif choice == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif choice == 3:
        lines[at] = lines[at].rstrip(b"\r\n")
    else:
        return content.decode("utf-8", "replace").encode(str(rng.choice(["utf-16", "latin-1", "utf-8-sig"])), "replace")
    return b"".join(lines)


def _change_directory(content: bytes, rng: np.random.Generator) -> bytes:
    """In the headers of a zip file: flags, method, sizes or names."""
    changed = bytearray(content)
    marks = [at for mark in (b"PK\x01\x02", b"PK\x03\x04") for at in _all_of(content, mark)]
    for at in marks if rng.random() < 0.5 else marks[: rng.integers(1, 3)]:
        shift = 2 if content[at + 2] == 1 else 0  # the central header has two bytes more at its head
        field, size = [(6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2)][rng.integers(6)]
        value = int(rng.choice([1, 8, 9, 12, 14, 99, 2**16 - 1, 2**31, 2**32 - 1])) % 256**size
        place = at + shift + field
        changed[place : place + size] = value.to_bytes(size, "little")
    return bytes(changed)


def _change_member(content: bytes, rng: np.random.Generator, seeds: Sequence[bytes], inner: Mutator) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    at = rng.integers(len(members))
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for number, (info, data) in enumerate(members):
            archive.writestr(info, inner(data, rng, [d for _, d in members]) if number == at else data)
    return output.getvalue()


def _all_of(content: bytes, mark: bytes) -> list[int]:
    found, at = [], content.find(mark)
    while at >= 0:
        found.append(at)
        at = content.find(mark, at + 1)
    return found


def _png_chunks(content: bytes):
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length
