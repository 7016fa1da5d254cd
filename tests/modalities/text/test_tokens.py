"""Tokenizers, TF-IDF and views: equal for equal data, kept as plain JSON, and random as they say."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from salience.batch import Batch, Progress
from salience.data import Dataset, open_data
from salience.modalities import Spec
from salience.modalities.text import tokenizers
from salience.modalities.text.policies import DELETED, packed
from salience.modalities.text.spec import TextSpec
from salience.modalities.text.tf_idf import signature, tf_idf
from salience.modalities.text.vocabulary import vocabulary_of
from salience.reading import Reading
from salience.views import Views

TRAIN = """
import json, sys
from salience.modalities.text.tokenizers import train_bpe
print(json.dumps(train_bpe(json.loads(sys.stdin.read()), 9999)))
"""


@pytest.fixture(scope="module")
def data(corpus: tuple[list[str], list[str]]) -> Dataset:
    return open_data(corpus[0], labels=corpus[1], progress=False)


def test_equal_texts_give_equal_tokenizers(corpus: tuple[list[str], list[str]]) -> None:
    here = tokenizers.train_bpe(corpus[0], 9999)
    done = subprocess.run([sys.executable, "-c", TRAIN], input=json.dumps(corpus[0]), capture_output=True, text=True)
    assert json.loads(done.stdout) == here


def test_words_are_tokens_and_unknown_characters_are_bytes(data: Dataset) -> None:
    tokens = vocabulary_of(data.spec.vocabulary, 512).tokens  # type: ignore[attr-defined]
    (ids, whole), (odd, _) = tokens.encode(["The SHIP  near\nthe Harbour", "☃"])
    assert [tokens.name(int(one)) for one in ids] == ["the", "ship", "near", "the", "harbour"]
    assert whole
    assert len(odd) > 1
    assert odd.min() > 0
    short = tokenizers.Tokens(json.loads(data.spec.vocabulary), 3)  # type: ignore[attr-defined]
    ((cut, whole),) = short.encode(["the ship near the harbour"])
    assert (cut.tolist(), whole) == (ids[:3].tolist(), False)


def test_words_have_the_same_tokens_alone_and_in_a_text(data: Dataset) -> None:
    """Words are encoded one by one, which must be what the package does with whole texts."""
    tokens = vocabulary_of(data.spec.vocabulary, 512).tokens  # type: ignore[attr-defined]
    text = "the ship's anchor, über_all 42 (東京) unknownword"
    ((ids, _),) = tokens.encode([text])
    whole = tokens.tokenizer.encode(" ".join(tokenizers.words_of(text))).ids
    assert (ids - 1).tolist() == whole


def test_characters_keep_everything() -> None:
    data = open_data(["ACGT", "acgtt"], reading=Reading(tokenizer="characters"), progress=False)
    tokens = vocabulary_of(data.spec.vocabulary, 512).tokens  # type: ignore[attr-defined]
    assert [tokens.name(int(one)) for one in data.item(1)] == list("acgtt")
    ((ids, _),) = tokens.encode(["AxT"])
    assert ids.tolist()[1] == tokenizers.UNKNOWN
    assert data.spec.dtype == "uint16"


def test_a_spec_survives_yaml(data: Dataset) -> None:
    plain = data.spec.to_dict()
    assert isinstance(plain["vocabulary"], dict)
    assert Spec.from_dict(json.loads(json.dumps(plain))) == data.spec
    with pytest.raises((ValueError, KeyError)):
        Spec.from_dict({**plain, "vocabulary": "vocabulary.json"})


def test_tf_idf_is_that_of_scikit_learn(data: Dataset, corpus: tuple[list[str], list[str]]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    spec = data.spec
    assert isinstance(spec, TextSpec)
    words = [[str(one) for one in data.item(row)] for row in range(len(data))]
    kept = vocabulary_of(spec.vocabulary, 512).terms
    reference = TfidfVectorizer(
        analyzer=lambda row: row, sublinear_tf=True, vocabulary={str(term): at for at, term in enumerate(kept)}
    )
    expected = reference.fit_transform(words).toarray() * np.sqrt(len(kept))
    found = tf_idf(data.batch(np.arange(len(data))).x, spec)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert found.square().mean(1).sub(1).abs().max() < 1e-5


def test_hashed_terms_do_not_depend_on_padding() -> None:
    texts = ["ACGTACGTAC", "AC", "A", "GGGGTTTTCCCCAAAA"]
    data = open_data(texts, reading=Reading(tokenizer="characters"), progress=False)
    together = tf_idf(data.batch(np.arange(4)).x, data.spec)  # type: ignore[arg-type]
    for row in range(4):
        alone = torch.from_numpy(data.item(row).astype(np.int64))[None]
        torch.testing.assert_close(tf_idf(alone, data.spec)[0], together[row])  # type: ignore[arg-type]
        assert together[row].count_nonzero() == len(
            {texts[row][at : at + 3] for at in range(max(1, len(texts[row]) - 2))}
        )


def test_near_duplicates_are_close(data: Dataset) -> None:
    ids = data.batch(np.arange(len(data))).x
    unit = signature(ids)
    assert unit.norm(dim=1).sub(1).abs().max() < 1e-5
    length = len(data.item(0))
    changed = ids[:1].clone()
    changed[0, length // 2] = 300
    near = float(signature(changed) @ unit[0])
    assert 0.5 < near < 1
    assert near > float((unit[1:] @ unit[0]).max())


def views_of(data: Dataset, policy: str, rows: int = 64) -> list[Batch]:
    batch = data.batch(np.arange(rows))
    return Views(policy, data.spec)(batch, Progress(seed=3))["global"]


def test_tokens_are_deleted_with_their_probability() -> None:
    data = open_data(["abcdefgh" * 60] * 64, reading=Reading(tokenizer="characters"), progress=False)
    a, b = views_of(data, "deletion")
    assert a.mask is not None
    assert b.mask is not None
    before = sum(len(data.item(row)) for row in range(64))
    for view in (a, b):
        assert view.mask is not None
        assert abs(1 - int(view.mask.sum()) / before - DELETED) < 0.01
        assert (view.x[~view.mask] == 0).all()
    assert not torch.equal(a.mask, b.mask)


def test_deletion_keeps_the_order_and_one_token() -> None:
    x = torch.tensor([[5, 6, 7, 8], [9, 0, 0, 0]])
    kept, mask = packed(x, torch.tensor([[True, False, True, True], [True, False, False, False]]))
    assert kept.tolist() == [[5, 7, 8, 0], [9, 0, 0, 0]]
    assert mask.tolist() == [[True, True, True, False], [True, False, False, False]]
    single = open_data(list("abcdefgh") * 16, reading=Reading(tokenizer="characters"), progress=False)
    for view in views_of(single, "deletion", 128):
        assert view.mask is not None
        assert (view.mask.sum(1) == 1).all()


def test_crops_are_rows_of_tokens_of_half_to_all() -> None:
    alphabet = "".join(map(chr, range(200, 400)))
    data = open_data([alphabet] * 256, reading=Reading(tokenizer="characters"), progress=False)
    (view, _) = views_of(data, "crop", 256)
    assert view.mask is not None
    lengths = view.mask.sum(1)
    assert (lengths >= 100).all()
    assert (lengths <= 200).all()
    assert abs(float(lengths.float().mean()) - 150.5) < 7
    for row in range(256):
        tokens = view.x[row][: lengths[row]]
        assert (tokens.diff() == 1).all()
    starts = view.x[:, 0] - 2
    assert starts.min() < 5
    assert starts.max() > 80


def test_views_do_not_depend_on_the_batch(data: Dataset) -> None:
    views = Views("text", data.spec)
    alone, together = data.batch(np.array([7])), data.batch(np.arange(32))
    for number in range(2):
        one = views.one(alone, Progress(seed=1), number=number)
        many = views.one(together, Progress(seed=1), number=number)
        assert one.mask is not None
        width = one.mask.shape[1]
        assert torch.equal(one.x["ids"][0], many.x["ids"][7, :width])  # type: ignore[index]
        assert torch.equal(one.x["keys"][0], many.x["keys"][7])  # type: ignore[index]
