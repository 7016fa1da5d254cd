import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from salience.cli import main
from salience.data import open_data
from salience.verbs.describe import describe


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path / "cache"))


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3)).astype(np.uint8))


@pytest.fixture
def folders(tmp_path):
    """Two classes of five images for training, two for testing, with one of each kind of trouble."""
    for split, seeds in (("train", (0, 100)), ("test", (50, 150))):
        for name, first in zip(("cat", "dog"), seeds, strict=True):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(5 if split == "train" else 2):
                picture(first + number).save(folder / f"{number}.png")
    root = tmp_path / "photos"
    (root / "train/cat/broken.png").write_bytes(b"this is no image")
    picture(1).save(root / "train/dog/again.png")  # equal to cat/1.png, under another label
    picture(2).save(root / "test/cat/leak.png")  # equal to train/cat/2.png
    brighter = np.asarray(picture(103)).astype(float) * 0.7 + 20
    Image.fromarray(brighter.astype(np.uint8)).save(root / "test/dog/near.png")
    return root


def test_a_folder_with_every_trouble(folders):
    found = describe(folders / "train", folders / "test", progress=False)
    assert (found.modality, found.items, found.shape, found.dtype) == ("image", 11, (3, 16, 16), "uint8")
    assert found.classes == {"cat": 5, "dog": 6}
    assert [item for item, _ in found.bad] == ["cat/broken.png"]
    assert [set(group) for group in found.equal] == [{"cat/1.png", "dog/again.png"}]
    assert found.conflicting == 1
    assert found.near.pairs == 0
    leakage = found.leakage
    assert leakage.items == 6
    assert leakage.equal == (("cat/leak.png", "cat/2.png"),)
    assert [pair[:2] for pair in leakage.near] == [("dog/near.png", "dog/3.png")]
    assert leakage.share == pytest.approx(2 / 6)


def test_the_text_names_what_was_found(folders):
    text = describe(folders / "train", folders / "test", progress=False).text()
    assert "11 images, RGB, 16x16, uint8" in text
    assert "labels: 2 classes: cat 5, dog 6" in text
    assert "bad items: 1\n  cat/broken.png: " in text
    assert "exact duplicates: 2 items in 1 set of equal ones; 1 set with different labels" in text
    assert "leakage: 33.33% of " in text
    assert "  exactly: 1\n    cat/leak.png = cat/2.png\n  nearly: 1\n    dog/near.png ~ dog/3.png" in text


def test_a_clean_source_says_so(folders):
    found = describe(folders / "test", progress=False)
    assert found.leakage is None
    assert "exact duplicates: none" in found.text()
    assert "near duplicates: none" in found.text()
    assert "bad items: none" in found.text()


def test_a_table(tmp_path):
    path = tmp_path / "people.csv"
    rows = {"age": [30, 40, None, 30], "town": ["Ulm", "Bern", "Ulm", "Ulm"], "kind": ["a", "b", "a", "b"]}
    pd.DataFrame(rows).to_csv(path, index=False)
    found = describe(path, labels="kind", progress=False)
    assert (found.modality, found.items, found.shape) == ("table", 4, (2,))
    assert found.classes == {"a": 2, "b": 2}
    assert [(c["name"], c["missing"], c["categories"]) for c in found.columns] == [("age", 1, 0), ("town", 0, 2)]
    assert [set(group) for group in found.equal] == [{"0", "3"}]
    assert found.conflicting == 1
    assert found.near is None
    assert "age: number, 1 missing" in found.text()


def test_arrays_without_labels():
    found = describe(np.random.default_rng(0).integers(0, 255, (7, 8, 8)).astype(np.uint8), progress=False)
    assert (found.items, found.classes, found.unlabelled) == (7, {}, 0)
    assert "labels: none" in found.text()


def test_the_command_prints_nothing_but_json(folders, capsys):
    assert main(["data", str(folders / "train"), str(folders / "test"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["items"] == 11
    assert printed["bad"][0]["item"] == "cat/broken.png"
    assert printed["near"]["pairs"] == 0
    assert printed["leakage"]["equal"] == [["cat/leak.png", "cat/2.png"]]


@pytest.mark.parametrize("what", ["missing", "empty", "unreadable"])
def test_a_source_that_holds_nothing_is_one_line(tmp_path, capsys, what):
    folder = tmp_path / "source"
    if what != "missing":
        folder.mkdir()
    if what == "unreadable":
        (folder / "x.png").write_bytes(b"no image")
    assert main(["data", str(folder)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert (str(folder) if what != "unreadable" else "x.png") in error


def test_names_stay_in_their_line_and_single_things_are_singular(tmp_path):
    folder = tmp_path / "x" / "only\n"
    folder.mkdir(parents=True)
    for name in ("a\x1b.png", "b\n.png"):
        picture(0).save(folder / name)
    (folder / "c\r.png").touch()
    found = describe(tmp_path / "x", tmp_path / "x", progress=False)
    assert found.bad[0][0] == "only\n/c\r.png"
    text = found.text()
    assert "labels: 1 class: only\\n 2\n" in text
    assert "bad items: 1\n  only\\n/c\\r.png: empty\n" in text
    assert "    only\\n/a\\x1b.png = only\\n/b\\n.png\n" in text
    assert "only\\n/b\\n.png = only\\n/a\\x1b.png" in text
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}
    table = pd.DataFrame({"a": [1.0], "b": ["x"]})
    assert "1 row of 2 columns" in describe(table, progress=False).text()
    assert "b: 1 category" in describe(table, progress=False).text()


def test_numeric_labels_that_are_a_quantity_are_said_and_how_to_say_otherwise():
    table = pd.DataFrame({"x": range(100), "age": np.arange(100) % 40 + 17})
    said = "note: evaluate: labels are 40 distinct integers, evaluated by regression (R²); if they are "
    assert (
        f"{said}classes, use `evaluate --target classification`" in describe(table, labels="age", progress=False).text()
    )
    assert "evaluate:" not in describe(table.assign(age=table["age"] % 5), labels="age", progress=False).text()


def test_labels_groups_and_equal_items_are_counted(monkeypatch):
    """Of three equal rows two share a label and one has none: no conflict. Of equal rows the first is named."""
    table = pd.DataFrame({"a": [1.0, 1.0, 1.0, 4.0, 5.0], "kind": ["x", "x", None, "y", "x"]})
    found = describe(table, table.iloc[[4, 1, 0]].reset_index(drop=True), labels="kind", progress=False)
    assert (found.classes, found.unlabelled, found.groups) == ({"x": 3, "y": 1}, 1, None)
    assert [set(group) for group in found.equal] == [{"0", "1", "2"}]
    assert found.conflicting == 0
    assert found.leakage.equal == (("0", "4"), ("1", "0"), ("2", "0"))
    assert "unlabelled: 1" in found.text()
    grouped = replace(open_data(table, labels="kind", progress=False), groups=np.array([0, 0, 1, 1, 2]))
    monkeypatch.setattr("salience.verbs.describe.open_data", lambda *given, **how: grouped)
    assert describe(table, progress=False).groups == 3


def test_of_several_near_ones_the_most_alike_is_named_once_and_equal_ones_are_not_near(tmp_path):
    x = np.asarray(picture(5)).astype(float)
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
    for name, strength in (("far", 0.8), ("near", 0.97)):
        noise = np.random.default_rng(9).integers(0, 255, x.shape)
        Image.fromarray((strength * x + (1 - strength) * noise).astype(np.uint8)).save(tmp_path / f"train/{name}.png")
    picture(7).save(tmp_path / "train/same.png")
    picture(5).save(tmp_path / "test/item.png")
    picture(7).save(tmp_path / "test/same.png")
    found = describe(tmp_path / "train", tmp_path / "test", progress=False).leakage
    assert found.equal == (("same.png", "same.png"),)
    assert [pair[:2] for pair in found.near] == [("item.png", "near.png")]
    assert found.share == 1


@pytest.mark.parametrize(("most", "told"), [(60, " (among 60 items drawn at random)"), (100, ""), (200_000, "")])
def test_how_many_items_near_duplicates_were_sought_among_is_told(monkeypatch, most, told):
    monkeypatch.setattr("salience.data.near_duplicates.MOST_ROWS", most)
    images = np.random.default_rng(0).integers(0, 255, (100, 16, 16)).astype(np.uint8)
    found = describe(images, progress=False)
    assert found.near.searched == min(most, 100)
    assert f"near duplicates: none{told}\n" in found.text() + "\n"


def test_a_leaked_item_counts_once_though_it_is_near_another_too():
    random = np.random.default_rng(0)
    images = random.integers(40, 200, (30, 16, 16))
    images[1] = images[0] + random.integers(-2, 3, (16, 16))
    source, test = images.astype(np.uint8), np.stack([images[0], 255 - images[9], images[5]]).astype(np.uint8)
    found = describe(source, test, progress=False)
    assert found.near.pairs == 1
    assert found.leakage.equal == (("0", "0"), ("2", "5"))
    assert (found.leakage.near, found.leakage.share) == ((), pytest.approx(2 / 3))
