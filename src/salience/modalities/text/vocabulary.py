"""A tokenizer with the statistics of its tokens over the training texts, as a run keeps it: plain JSON."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np

from salience.modalities.text.tokenizers import CHARACTERS, Tokens

MOST_TERMS = 2048  # width of TF-IDF vectors
N_GRAM = 3  # characters of a term, if tokens are characters


class Vocabulary:
    """A tokenizer, and the terms of TF-IDF vectors: the tokens of the most texts, or hashed n-grams of characters.

    Attributes:
        tokens: The tokenizer.
        hashed: Whether terms are hashed n-grams.
        column: [tokens] the column of each token in TF-IDF vectors, `width` if it has none; unused if hashed.
        idf: [width] float32 inverse document frequencies.
    """

    def __init__(self, plain: dict[str, Any], longest: int) -> None:
        self.plain = plain
        self.tokens = Tokens(plain, longest)
        self.hashed = plain["kind"] == CHARACTERS
        terms, frequencies = np.array(plain["terms"], np.int64), np.array(plain["frequencies"], np.float64)
        self.terms = terms
        self.width = len(terms)
        self.column = np.full(self.tokens.size, self.width, np.int64)
        if not self.hashed:
            self.column[terms] = np.arange(self.width)
        self.idf = (np.log((1 + plain["texts"]) / (1 + frequencies)) + 1).astype(np.float32)

    def names(self) -> list[str]:
        """Return a name for each column of TF-IDF vectors."""
        if self.hashed:
            return [f"hash {number}" for number in range(self.width)]
        return [self.tokens.name(int(term)) or f"token {term}" for term in self.terms]


class Frequencies:
    """Counts in how many texts each token, or each hashed n-gram, occurs."""

    def __init__(self, plain: dict[str, Any], size: int) -> None:
        self.hashed = plain["kind"] == CHARACTERS
        self.counts = np.zeros(MOST_TERMS if self.hashed else size, np.int64)
        self.texts = 0

    def add(self, ids: np.ndarray) -> None:
        """Add one text.  ids: [t]"""
        self.counts[np.unique(hashed_terms(ids) if self.hashed else ids)] += 1
        self.texts += 1

    def plain(self) -> dict[str, Any]:
        """Return the terms of the most texts, with the number of texts of each."""
        if self.hashed:
            terms = np.arange(MOST_TERMS)
        else:
            common = np.flatnonzero(self.counts >= 2) if (self.counts >= 2).any() else np.flatnonzero(self.counts)
            terms = np.sort(common[np.argsort(-self.counts[common], kind="stable")[:MOST_TERMS]])
        return {"terms": terms.tolist(), "frequencies": self.counts[terms].tolist(), "texts": self.texts}


def hashed_terms(ids: np.ndarray) -> np.ndarray:
    """Return the hashes of the n-grams of a text.  [t] -> [max(t - 2, 1)] int64"""
    ids = np.asarray(ids, np.int64)
    if len(ids) < N_GRAM:
        ids = np.pad(ids, (0, N_GRAM - len(ids)))
    return hash_triples(ids[:-2], ids[1:-1], ids[2:])


def hash_triples(a: Any, b: Any, c: Any) -> Any:
    """Hash three tokens to a column; arrays and tensors of int64 give the same."""
    return ((a * 1_000_003 + b) * 1_000_003 + c) % 2_147_483_647 % MOST_TERMS


@lru_cache(maxsize=4)
def vocabulary_of(text: str, longest: int) -> Vocabulary:
    """Return the vocabulary of a spec."""
    return Vocabulary(json.loads(text), longest)
