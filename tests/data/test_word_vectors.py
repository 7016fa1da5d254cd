"""Word vectors in the formats of word2vec and GloVe, and as .npz; each read as gensim reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import salience
from salience.cli import main
from salience.data import open_data
from salience.errors import UserError

WORDS = ["king", "queen", "Käse", "man", "of", "the", "woman", "zoo"]
VECTORS = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")


def lines() -> str:
    rows = zip(WORDS, VECTORS, strict=True)
    return "".join(f"{word} {' '.join(map(repr, map(float, row)))}\n" for word, row in rows)


@pytest.fixture(params=["glove.txt", "word2vec.txt", "word2vec.vec", "word2vec.bin", "words.npz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found = tmp_path / request.param
    match found.name:
        case "glove.txt":
            found.write_text(lines(), encoding="utf-8")
        case "words.npz":
            np.savez(found, words=np.array(WORDS), vectors=VECTORS.astype(np.float16))
        case "word2vec.bin":
            rows = zip(WORDS, VECTORS, strict=True)
            found.write_bytes(b"8 6\n" + b"".join(w.encode() + b" " + row.tobytes() + b"\n" for w, row in rows))
        case _:
            found.write_text("8 6\n" + lines(), encoding="utf-8")
    return found


def test_a_file_of_word_vectors_becomes_a_run(path: Path, tmp_path: Path) -> None:
    data = open_data(path, progress=False)
    assert list(data.ids) == WORDS
    rep = salience.fit("pretrained", path, out=tmp_path / "run", progress=False)
    tolerance = 1e-3 if path.suffix == ".npz" else 1e-6
    np.testing.assert_allclose(rep.embed(path), VECTORS, atol=tolerance)


def test_the_binary_file_is_that_of_gensim(tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    made = models.KeyedVectors(6)
    made.add_vectors(WORDS, VECTORS)
    for name, binary in (("made.bin", True), ("made.vec", False)):
        made.save_word2vec_format(str(tmp_path / name), binary=binary)
        data = open_data(tmp_path / name, progress=False)
        order = [WORDS.index(word) for word in data.ids]
        found = np.asarray(data.batch(np.arange(8)).x)
        np.testing.assert_allclose(found, VECTORS[order], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("cut.bin", b"8 6\nking \0\0\0\0", "ends after 0"),
        ("cut.vec", b"8 6\n" + lines().encode()[:300], "line|declares"),
        ("odd.txt", lines().encode() + b"word 1 2 x\n", "line 9"),
        ("short.txt", lines().encode() + b"word 1 2 3\n", "line 9"),
    ],
)
def test_damage_is_told(name: str, content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=problem):
        open_data(tmp_path / name, progress=False)


def test_a_word_that_occurs_again_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text(lines() + lines().splitlines()[0] + "\n", encoding="utf-8")
    data = open_data(tmp_path / "twice.txt", progress=False)
    assert list(data.ids) == WORDS
    assert any("1 words" in note for note in data.notes)


def test_a_text_is_no_file_of_vectors(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("once upon a time there was a word\n")
    assert open_data(tmp_path / "a.txt", progress=False).spec.modality.name == "text"


def test_words_are_searched_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("glove.txt").write_text(lines(), encoding="utf-8")
    assert main(["fit", "pretrained", "glove.txt", "--out", "run"]) == 0
    assert main(["embed", "run", "glove.txt", "--out", "words.lance"]) == 0
    capsys.readouterr()
    assert main(["search", "words.lance", "queen", "-k", "3", "--json"]) == 0
    said = capsys.readouterr().out
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    nearest = [WORDS[row] for row in np.argsort(-(unit @ unit[1])) if row != 1]
    hits = [hit["id"] for hit in json.loads(said) if hit["id"] != "queen"]
    assert hits == nearest[: len(hits)]
    assert len(hits) >= 2
