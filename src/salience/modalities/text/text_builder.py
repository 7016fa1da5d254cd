"""Conversion of texts to stored tokens, beside the texts themselves for display."""

from __future__ import annotations

import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from salience.errors import UserError
from salience.fields.build_options import Built, Options
from salience.fields.content import Encoded, Found, Texts
from salience.fields.growing import GrowingRagged
from salience.fields.ids import Ids
from salience.fields.stored_items import Named, Ragged, fingerprint
from salience.modalities.text import tokenizers, windows
from salience.modalities.text.encodings import NotTextError, clean, read_text
from salience.modalities.text.spec import TextSpec, as_json
from salience.modalities.text.vocabulary import Frequencies
from salience.progress import progress_bar
from salience.reading import Reading
from salience.units import counted, printable

LONGEST = 512  # tokens
TOGETHER = 1024  # texts that are encoded at once
MOST_LEARNED = 5_000_000  # characters that a tokenizer is learned from
EXPECTED = frozenset({"utf-8", "utf-8-sig"})


@dataclass
class Cutter:
    """Cuts texts into windows and stores them.

    Attributes:
        window, hop: Length of a window and distance of two, in characters.
        longest: Length above which a text is cut.
        source: Number of the text of the source, for each stored text.
        start: Position in it of the first character, for each stored text.
    """

    window: int
    hop: int
    longest: int
    folder: Path | None
    base: int = 0
    cut: int = 0
    characters: int = 0
    source: array.array[int] = field(default_factory=partial(array.array, "q"))
    start: array.array[int] = field(default_factory=partial(array.array, "q"))
    texts: GrowingRagged = field(init=False)

    def __post_init__(self) -> None:
        self.texts = GrowingRagged(np.uint8, self.folder)

    def add(self, number: int, text: str, start: int = 0) -> None:
        """Store one text of the source, whole or in windows."""
        several = len(text) > self.longest
        self.cut += several
        for at in windows.starts(len(text), self.window, self.hop) if several else (0,):
            piece = text[at : at + self.window] if several else text
            if piece.strip():
                self.texts.append(np.frombuffer(piece.encode("utf-8"), np.uint8))
                self.characters += len(piece)
                self.source.append(number)
                self.start.append(start + at)


def build(found: Found, options: Options) -> Built:
    """Convert texts to tokens. Raises UserError if there is none, or no tokenizer fits."""
    content = found.content
    assert isinstance(content, Encoded | Texts)
    cutter = make_cutter(content, options)
    bad, notes = _cut_all(content, cutter, options)
    total = content.count
    if not cutter.source:
        first = f"; the first {bad[0][1]}" if bad else ""
        raise UserError(f"source: none of {counted(total, 'text')} can be read{first}")
    texts = cutter.texts.finish()
    spec, ids, more = _encode_all(texts, cutter.characters, options)
    stored = Named({"ids": ids, "text": texts})
    notes += [*_note_windows(cutter, content, options), *more]
    return Built(stored, spec, len(ids), total, fingerprint(stored), bad=tuple(bad), notes=tuple(notes),
                 **_positions(cutter, found, content, total))  # fmt: skip


def make_cutter(content: Encoded | Texts, options: Options) -> Cutter:
    """Choose the length of windows: that of the user, otherwise one that suits the tokens and the source."""
    reading, stream = options.reading, isinstance(content, Texts) and content.stream
    single = reading.tokenizer == tokenizers.CHARACTERS or _is_of_characters(options.spec)
    usual = windows.OF_CHARACTERS if single else windows.OF_STREAM if stream else windows.LONGEST
    window = max(1, round(reading.window or usual))
    hop = max(1, round(reading.hop or window))
    folder = None if options.path is None else options.path.parent
    return Cutter(window, hop, window, folder)


def _is_of_characters(spec: Any) -> bool:
    return isinstance(spec, TextSpec) and '"kind":"characters"' in spec.vocabulary


def _cut_all(content: Encoded | Texts, cutter: Cutter, options: Options) -> tuple[list[tuple[int, str]], list[str]]:
    """Store all texts. Return (item, reason) of those that are left out, and notes."""
    bad: list[tuple[int, str]] = []
    odd: dict[str, list[str]] = {}
    number, start = 0, content.start if isinstance(content, Texts) else 0
    with progress_bar(content.count, "preparing", options.progress and content.count > 10_000) as bar:
        for chunk in content.chunks():
            for one in chunk:
                text = ""
                try:
                    text = _text_of(one, content, odd)
                    before = len(cutter.source)
                    cutter.add(number, text, start)
                    if len(cutter.source) == before:
                        raise NotTextError("is empty")
                except NotTextError as reason:
                    bad.append((number, str(reason)))
                if isinstance(content, Texts) and content.stream:
                    start += len(text)
                else:
                    number += 1
                bar.update(1)
    notes = [*(content.notes() if isinstance(content, Texts) else ()), *_note_encodings(odd)]
    return ([] if isinstance(content, Texts) and content.stream else bad), notes


def _text_of(one: Any, content: Encoded | Texts, odd: dict[str, list[str]]) -> str:
    """Return the text of a cell or of a file."""
    if isinstance(content, Texts):
        if one is None:
            raise NotTextError("is missing")
        return clean(one)
    text, encoding = read_text(one)
    if encoding not in EXPECTED:
        odd.setdefault(encoding, []).append(Path(one).name)
    return text


def _note_encodings(odd: dict[str, list[str]]) -> Iterator[str]:
    for encoding, names in odd.items():
        verb = "is" if len(names) == 1 else "are"
        yield f"{counted(len(names), 'file')} {verb} read as {encoding}, such as {printable(names[0])}"


def _note_windows(cutter: Cutter, content: Encoded | Texts, options: Options) -> Iterator[str]:
    if not cutter.cut:
        return
    what = "the stream is" if isinstance(content, Texts) and content.stream else f"{counted(cutter.cut, 'long text')}"
    if not what.endswith("is"):
        what += " is" if cutter.cut == 1 else " are"
    apart = f", {cutter.hop:,} apart" if cutter.hop != cutter.window else ""
    change = "" if options.reading.window else "; use --window to change this"
    yield f"{what} cut into windows of {cutter.window:,} characters{apart}{change}"


def _positions(cutter: Cutter, found: Found, content: Encoded | Texts, total: int) -> dict[str, Any]:
    """Return what `Built` tells of windows: the item that each was cut from, its id and its group."""
    source = np.frombuffer(cutter.source, np.int64)
    start = np.frombuffer(cutter.start, np.int64)
    stream = isinstance(content, Texts) and content.stream
    if not cutter.cut and not stream:
        return {"kept": None if len(source) == total else source.copy()}
    names = found.ids if found.ids is not None else Ids(total)
    several = np.bincount(source, minlength=total)[source] > 1
    ids = Ids.of([
        f"{names[int(row)]}#{at}" if stream or some else names[int(row)]
        for row, at, some in zip(source, start, several, strict=True)
    ])  # fmt: skip
    groups = None if stream else source.copy() if found.groups is None else found.groups[source]
    return {"kept": source.copy(), "ids": ids, "groups": groups}


def _encode_all(texts: Ragged, characters: int, options: Options) -> tuple[TextSpec, Ragged, list[str]]:
    """Return the spec, the tokens of all texts, and notes."""
    want = options.spec
    plain = _make_tokenizer(texts, characters, options.reading) if want is None else _plain_of(want)
    longest = LONGEST if want is None else want.longest
    tokens = tokenizers.Tokens(plain, longest)
    dtype = np.dtype(np.uint16 if tokens.size <= 1 << 16 else np.int64)
    ids = GrowingRagged(dtype, None if options.path is None else options.path.parent)
    frequencies, shortened = Frequencies(plain, tokens.size), 0
    for some in _batches(_strings(texts), TOGETHER):
        for one, whole in tokens.encode(some):
            ids.append(one if len(one) else np.zeros(1, dtype))
            frequencies.add(one)
            shortened += not whole
    notes = [] if want is not None else [_note_tokenizer(plain, tokens.size)]
    if shortened:
        verb = "has" if shortened == 1 else "have"
        notes.append(f"{counted(shortened, 'text')} {verb} more than {longest} tokens; the rest of them is left out")
    if want is not None:
        return want, ids.finish(), notes
    spec = TextSpec(
        (), dtype.name, vocabulary=as_json(plain | frequencies.plain()), tokens=tokens.size, longest=longest
    )
    return spec, ids.finish(), notes


def _plain_of(spec: TextSpec) -> dict[str, Any]:
    import json

    return dict(json.loads(spec.vocabulary))


def _make_tokenizer(texts: Ragged, characters: int, reading: Reading) -> dict[str, Any]:
    """Learn a tokenizer from the texts, or read a published one."""
    name = reading.tokenizer or tokenizers.BPE
    if name not in (tokenizers.BPE, tokenizers.CHARACTERS):
        return tokenizers.read_published(name)
    step = max(1, -(-characters // MOST_LEARNED))
    sample = _strings(texts, step)
    if name == tokenizers.CHARACTERS:
        return tokenizers.count_characters(sample)
    return tokenizers.train_bpe(sample, characters)


def _note_tokenizer(plain: dict[str, Any], size: int) -> str:
    if plain["kind"] == tokenizers.CHARACTERS:
        return f"tokens are the {size - 2:,} characters of the texts"
    if plain["kind"] == tokenizers.PUBLISHED:
        return f"tokens are those of {printable(plain['name'])}, {size - 1:,} different ones"
    return f"a tokenizer of {size - 1:,} tokens was learned from the texts; use --tokenizer to change this"


def _strings(texts: Ragged, step: int = 1) -> Iterator[str]:
    for row in range(0, len(texts), step):
        yield texts[row].tobytes().decode("utf-8")


def _batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    listed = iter(texts)
    while some := list(islice(listed, size)):
        yield some
