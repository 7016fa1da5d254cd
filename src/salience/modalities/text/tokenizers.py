"""Tokenizers: byte pair encoding learned from the training texts, single characters, or a published tokenizer.

A tokenizer is plain JSON. `Tokens` encodes texts with it as numbers from 1; 0 is padding.

Byte pair encoding: Sennrich, Haddow and Birch 2016, https://aclanthology.org/P16-1162. Texts are split into words, in
lower case and one Unicode form, so that texts that differ in spaces, case or Unicode form only have equal tokens. A
word is one token if it is frequent enough; characters that the training texts do not contain are encoded as bytes.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from salience.errors import MissingPackage, UserError
from salience.units import printable

BPE, CHARACTERS, PUBLISHED = "bpe", "characters", "published"
LEAST_TOKENS, MOST_TOKENS = 512, 8192
CHARACTERS_PER_TOKEN = 100  # of the training texts, for each entry of the vocabulary
MOST_CHARACTERS = 20_000  # different ones that get numbers of their own
UNKNOWN = 1  # the number of any other character
HUB = "hf:"
WORD = re.compile(r"[^\W_]+|[^\w\s]|_")
MOST_CACHED = 500_000  # words whose tokens are remembered


def library() -> Any:
    """Return the package tokenizers."""
    try:
        import tokenizers
    except ImportError as error:
        raise MissingPackage("source: texts need tokenizers; install it with pip install 'salience[text]'") from error
    return tokenizers


def train_bpe(texts: Iterable[str], characters: int) -> dict[str, Any]:
    """Learn byte pair encoding. Equal texts give equal tokenizers.

    Args:
        texts: The training texts.
        characters: Number of their characters, which sets the size of the vocabulary.
    """
    hf = library()
    size = int(np.clip(characters // CHARACTERS_PER_TOKEN, LEAST_TOKENS, MOST_TOKENS))
    tokenizer = hf.Tokenizer(hf.models.BPE())
    tokenizer.pre_tokenizer = hf.pre_tokenizers.Sequence(
        [hf.pre_tokenizers.WhitespaceSplit(), hf.pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )
    tokenizer.decoder = hf.decoders.ByteLevel()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator((" ".join(words_of(text)) for text in texts), trainer)
    return {"kind": BPE, "tokenizer": json.loads(tokenizer.to_str())}


def words_of(text: str) -> list[str]:
    """Return the words and signs of a text, in lower case and in one Unicode form (NFKC)."""
    return WORD.findall((text if text.isascii() else unicodedata.normalize("NFKC", text)).lower())


def count_characters(texts: Iterable[str]) -> dict[str, Any]:
    """Make the tokenizer whose tokens are the characters of the training texts."""
    counts: dict[int, int] = {}
    for text in texts:
        for code, count in zip(*np.unique(_codes(text), return_counts=True), strict=True):
            counts[int(code)] = counts.get(int(code), 0) + int(count)
    most = sorted(counts, key=lambda code: (-counts[code], code))[:MOST_CHARACTERS]
    return {"kind": CHARACTERS, "codes": sorted(most)}


def read_published(name: str) -> dict[str, Any]:
    """Read a published tokenizer and the config of its network from a folder, or hf:NAME from Hugging Face's cache.

    Raises:
        UserError: It does not exist on this machine.
    """
    folder = find_published(name, "tokenizer")
    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"tokenizer: expected tokenizer.json and config.json in {folder}: {reason}") from error
    tokenizer["padding"] = tokenizer["truncation"] = None
    return {"kind": PUBLISHED, "name": name, "tokenizer": tokenizer, "config": config}


def find_published(name: str, option: str) -> Path:
    """Return the folder of a published network. Nothing is downloaded. Raises UserError if there is none."""
    path = Path(name.removeprefix(HUB)).expanduser()
    if path.is_dir():
        return path
    if not name.startswith(HUB):
        raise UserError(f"{option}: expected a folder, hf:NAME or a name of ours, got '{printable(name)}'")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingPackage(f"{option}: hf:NAME needs transformers; pip install 'salience[text]'") from error
    try:
        return Path(snapshot_download(name.removeprefix(HUB), local_files_only=True))
    except Exception as error:  # the library can raise any exception for a name it does not know
        raise UserError(
            f"{option}: {printable(name)} is not on this machine; download it with: hf download {name[len(HUB) :]}"
        ) from error


class Tokens:
    """A tokenizer, ready to encode.

    Args:
        plain: The tokenizer as plain values.
        longest: The most tokens of a text.

    Attributes:
        size: Number of different stored values, with 0 for padding.
    """

    def __init__(self, plain: Mapping[str, Any], longest: int) -> None:
        self.longest = longest
        self.characters = plain["kind"] == CHARACTERS
        if self.characters:
            self.codes = np.array(plain["codes"], np.uint32)
            self.size = len(self.codes) + 2
            return
        self.learned = plain["kind"] == BPE
        self.tokenizer = library().Tokenizer.from_str(json.dumps(plain["tokenizer"]))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.size = self.tokenizer.get_vocab_size() + 1
        self._of_word: dict[str, list[int]] = {}

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, bool]]:
        """Iterate over the tokens of each text, [t] int64, and whether they are all of them."""
        if self.characters:
            yield from (self._shortened(self._encode_characters(text)) for text in texts)
        elif self.learned:
            yield from (self._shortened(ids) for ids in self._encode_words(texts))
        else:
            for encoding in self.tokenizer.encode_batch_fast(list(texts)):
                yield self._shortened(np.array(encoding.ids, np.int64) + 1)

    def _encode_words(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Encode each different word once, because the package takes ten times as long for whole texts."""
        listed = [words_of(text) for text in texts]
        if len(self._of_word) > MOST_CACHED:
            self._of_word.clear()
        new = list(dict.fromkeys(word for words in listed for word in words if word not in self._of_word))
        for word, encoding in zip(new, self.tokenizer.encode_batch_fast(new), strict=True):
            self._of_word[word] = [number + 1 for number in encoding.ids]
        known = self._of_word
        for words in listed:
            yield np.array([number for word in words for number in known[word]], np.int64)

    def _shortened(self, ids: np.ndarray) -> tuple[np.ndarray, bool]:
        return ids[: self.longest], len(ids) <= self.longest

    def _encode_characters(self, text: str) -> np.ndarray:
        codes = _codes(text[: self.longest + 1])
        if not len(self.codes):
            return np.full(len(codes), UNKNOWN, np.int64)
        at = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        return np.where(self.codes[at] == codes, at + UNKNOWN + 1, UNKNOWN).astype(np.int64)

    def name(self, number: int) -> str:
        """Return the text of a stored value."""
        if number <= 0:
            return ""
        if self.characters:
            return "?" if number == UNKNOWN else chr(self.codes[number - UNKNOWN - 1])
        return str(self.tokenizer.decode([number - 1], skip_special_tokens=False)).strip()


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
