"""Texts as they come: every source, and files that are odd, each read rightly or named in one line."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.reading import Reading


def opened(source: Any, **options: Any) -> Dataset:
    return open_data(source, progress=False, **options)


def texts_of(data: Dataset) -> list[str]:
    return [data.spec.modality.text(data, row) for row in range(len(data))]


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_of_text_files_has_classes(tmp_path: Path) -> None:
    files = {"in/sea/a.txt": b"ships at sea", "in/sea/b.txt": b"a tide", "in/home/c.txt": b"bread and butter"}
    data = opened(write_files(tmp_path, files) / "in", cache=tmp_path / "cache")
    assert (data.spec.modality.name, data.classes) == ("text", ("home", "sea"))
    assert list(data.ids) == ["home/c.txt", "sea/a.txt", "sea/b.txt"]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 1]
    assert texts_of(data)[0] == "bread and butter"


def test_text_files_beside_pictures_are_annotations(tmp_path: Path) -> None:
    from PIL import Image

    write_files(tmp_path, {"in/a.txt": b"0 0 1 1", "in/b.txt": b"0 0 2 2", "in/classes.txt": b"cat"})
    for name in "ab":
        Image.new("RGB", (8, 8), "red" if name == "a" else "blue").save(tmp_path / "in" / f"{name}.png")
    data = opened(tmp_path / "in", cache=tmp_path / "cache")
    assert data.spec.modality.name == "image"
    assert any("--kind text" in note for note in data.notes)
    asked = opened(tmp_path / "in", cache=tmp_path / "cache", reading=Reading(kind="text"))
    assert len(asked) == 3


ENCODED = {
    "mark.txt": ("Größe\nzwei", "utf-8-sig"),
    "wide.txt": ("Größe und mehr\nzwei", "utf-16"),
    "wide-le.txt": ("Größe und mehr\nzwei", "utf-16-le"),
    "wide-be.txt": ("Größe und mehr\nzwei", "utf-16-be"),
    "wider.txt": ("Größe\nzwei", "utf-32"),
    "windows.txt": ("Größe – 5 €", "cp1252"),
    "latin.txt": ("Gr\xf6\xdfe \x85\x81", "latin-1"),
    "plain.txt": ("Größe 東京 ☃", "utf-8"),
    "separator.txt": ("one\u2028two", "utf-8"),
}


def test_encodings_are_found_and_told(tmp_path: Path) -> None:
    write_files(tmp_path, {f"in/{name}": text.encode(encoding) for name, (text, encoding) in ENCODED.items()})
    data = opened(tmp_path / "in", cache=tmp_path / "cache")
    assert dict(zip(data.ids, texts_of(data), strict=True)) == {name: text for name, (text, _) in ENCODED.items()}
    told = " ".join(data.notes)
    assert all(name in told for name in ("windows.txt", "latin.txt", "utf-16-le", "utf-16-be"))


def test_odd_files_are_read_or_named(tmp_path: Path) -> None:
    files = {
        "in/mac.txt": b"one\rtwo\r\rthree\r\n",
        "in/nul.txt": b"a long text of many words, more than a hundred characters, with a single "
        + b"\0NUL"
        + b" x" * 30,
        "in/empty.txt": b"",
        "in/blank.txt": b" \n\t\r\n ",
        "in/binary.txt": bytes(range(32)) * 8,
        "in/fine.txt": b"fine",
    }
    data = opened(write_files(tmp_path, files) / "in", cache=tmp_path / "cache")
    found = dict(zip(data.ids, texts_of(data), strict=True))
    assert found["mac.txt"] == "one\ntwo\n\nthree\n"
    assert "\0" not in found["nul.txt"]
    assert "NUL" in found["nul.txt"]
    assert set(found) == {"mac.txt", "nul.txt", "fine.txt"}
    reasons = {item.id: item.reason for item in data.bad}
    assert "empty" in reasons["empty.txt"]
    assert "empty" in reasons["blank.txt"]
    assert "not text" in reasons["binary.txt"]


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"id": "x", "text": "one line\u2028and the same", "label": "b"},
        {"id": "y", "text": "a lone surrogate \ud800 in the text", "label": "a", "more": {"nested": [1]}},
        {"id": "z", "text": None, "label": "a"},
    ]
    lines = [json.dumps(row, ensure_ascii=row["id"] == "y") for row in rows]
    lines = [lines[0], "{broken", lines[1], "[1, 2]", "", lines[2]]
    reading = Reading(text="text")
    for name, content, end in (("a.jsonl", "\n", b""), ("b.jsonl", "\r", b"\n"), ("c.jsonl.gz", "\r\n", b"")):
        data = content.join(lines).encode() + end
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        found = opened(tmp_path / name, cache=tmp_path / "cache", reading=reading)
        assert texts_of(found) == [rows[0]["text"], "a lone surrogate \ufffd in the text"]
        assert [item.reason for item in found.bad] == ["is missing"]
        assert found.labels is not None
        assert [found.classes[code] for code in found.labels] == ["b", "a"]
        assert any("2 lines" in note and "line 2" in note for note in found.notes)


def test_json_lines_of_other_encodings(tmp_path: Path) -> None:
    line = json.dumps({"text": "Größe und mehr"}, ensure_ascii=False)
    for encoding in ("utf-8-sig", "utf-16"):
        path = tmp_path / f"{encoding}.jsonl"
        path.write_bytes(f"{line}\n{line}\n".encode(encoding))
        assert texts_of(opened(path, cache=tmp_path / "cache", reading=Reading(kind="text"))) == ["Größe und mehr"] * 2
    path.write_bytes(b'{"text": "Gr\xf6\xdfe"}\n')
    with pytest.raises(UserError, match="UTF-8"):
        opened(path, cache=tmp_path / "cache")


def test_a_line_of_50_mb_is_cut_in_seconds(tmp_path: Path) -> None:
    from salience.modalities.text.text_builder import Cutter

    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"text": "word " * 10_000_000}) + "\n" + json.dumps({"text": "short"}) + "\n")
    from salience.data.sources.json_lines import _table

    started = time.process_time()
    cutter = Cutter(2000, 2000, 2000, tmp_path)
    for frame in _table(path).frames(["text"]):
        for number, text in enumerate(frame["text"]):
            cutter.add(number, text)
    assert time.process_time() - started < 10
    assert len(cutter.source) == 25_001
    assert cutter.texts.finish().offsets[-1] == 50_000_005


def test_a_text_column_of_csv_keeps_quoted_newlines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('name,words,label\r\nx,"first line\nsecond, ""quoted""",a\r\ny,NA,b\r\nz,,a\r\n', newline="")
    data = opened(path, cache=tmp_path / "cache", reading=Reading(text="words"))
    assert texts_of(data) == ['first line\nsecond, "quoted"', "NA"]
    assert list(data.ids) == ["0", "1"]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1]
    assert [(item.id, item.reason) for item in data.bad] == [("2", "is missing")]
    assert data.reading.text == "words"


def test_the_column_of_long_texts_is_found_and_told(table: Path, tmp_path: Path) -> None:
    data = opened(table, cache=tmp_path / "cache", labels="topic")
    assert data.spec.modality.name == "text"
    assert any("'note'" in note and "--kind table" in note for note in data.notes)
    assert data.classes == ("kitchen", "sea")
    rows = opened(table, cache=tmp_path / "cache", labels="note", reading=Reading(kind="table"))
    assert rows.spec.modality.name == "table"


def test_rows_with_numbers_stay_rows(corpus: tuple[list[str], list[str]], tmp_path: Path) -> None:
    frame = pd.DataFrame({"note": corpus[0], "price": np.arange(64.0), "topic": corpus[1]})
    assert opened(frame).spec.modality.name == "table"
    assert opened(frame, reading=Reading(text="note")).spec.modality.name == "text"
    assert opened(frame, reading=Reading(kind="text")).reading.text == "note"
    with pytest.raises(UserError, match="text"):
        opened(frame, reading=Reading(text="nothing"))


def test_parquet_dataset_and_lists_are_read_alike(corpus: tuple[list[str], list[str]], tmp_path: Path) -> None:
    import datasets

    texts, topics = corpus
    frame = pd.DataFrame({"note": texts, "topic": topics})
    frame.to_parquet(tmp_path / "t.parquet")
    there = [
        opened(tmp_path / "t.parquet", labels="topic", cache=tmp_path / "cache"),
        opened(frame, labels="topic"),
        opened(datasets.Dataset.from_pandas(frame), labels="topic", cache=tmp_path / "cache"),
        opened(texts, labels=topics),
        opened(np.array(texts), labels=topics),
        opened(frame["note"], labels=topics),
    ]
    assert len({data.fingerprint for data in there}) == 1
    assert all(texts_of(data) == texts for data in there)
    assert all(data.labels is not None and data.labels.tolist() == there[0].labels.tolist() for data in there)  # type: ignore[union-attr]


def test_a_text_file_is_a_stream_whose_last_tenth_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "play.txt"
    text = "".join(f"line {number} of the play.\r\n" for number in range(500))
    path.write_text(text, newline="", encoding="utf-16")
    text = text.replace("\r\n", "\n")
    reading = Reading(window=200, hop=150)
    train = opened(path, cache=tmp_path / "cache", reading=reading)
    test = opened(f"{path}:test", cache=tmp_path / "cache", spec=train.spec, reading=reading)
    held_out = len(text) - len(text) // 10
    for data, start, end in ((train, 0, held_out), (test, held_out, len(text))):
        starts = [int(id.rpartition("#")[2]) for id in data.ids]
        assert starts == list(range(start, starts[-1] + 1, 150))
        assert texts_of(data) == [text[at : min(at + 200, end)] for at in starts]
        assert starts[-1] + 200 >= end
    assert train.splits == ("train", "test")
    assert train.spec == test.spec


def test_long_texts_become_windows_of_one_group(tmp_path: Path) -> None:
    files = {"in/a/long.txt": b"x" * 450, "in/b/short.txt": b"hello there", "in/b/second.txt": b"y" * 250}
    reading = Reading(window=200)
    data = opened(write_files(tmp_path, files) / "in", cache=tmp_path / "cache", reading=reading)
    for _ in range(2):  # prepared, then from the cache
        assert list(data.ids) == ["a/long.txt#0", "a/long.txt#200", "a/long.txt#400", "b/second.txt#0",
                                  "b/second.txt#200", "b/short.txt"]  # fmt: skip
        assert data.labels is not None
        assert data.groups is not None
        assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert data.groups.tolist() == [0, 0, 0, 1, 1, 2]
        assert [len(text) for text in texts_of(data)] == [200, 200, 50, 200, 50, 11]
        data = opened(tmp_path / "in", cache=tmp_path / "cache", reading=reading)
    whole = opened(tmp_path / "in", cache=tmp_path / "cache", reading=Reading(window=1000))
    assert len(whole) == 3


def test_equal_texts_are_told_despite_spaces_and_unicode_form(tmp_path: Path) -> None:
    from salience.verbs.describe import describe

    texts = ["Café  au\nlait", "Cafe\u0301 au lait ", "ﬁne wine", "fine wine", "something else"]
    found = describe(texts)
    assert sorted(sorted(group) for group in found.equal) == [["0", "1"], ["2", "3"]]


@pytest.mark.parametrize("option", ["window", "hop"])
def test_lengths_of_windows_are_checked(option: str) -> None:
    for value in (0, -1, float("inf"), "x"):
        with pytest.raises(UserError, match=option):
            Reading(**{option: value})  # type: ignore[arg-type]


def test_options_of_texts_are_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokenizer"):
        opened(np.zeros((4, 3)), reading=Reading(tokenizer="characters"))
