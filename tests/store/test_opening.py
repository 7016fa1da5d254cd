"""What is no store, or is one that was damaged, is refused in one line; what was copied opens."""

import json
import os
import shutil

import lance
import pyarrow as pa
import pytest

from salience.errors import UserError
from salience.store import open_store
from tests.store.conftest import DIGITS, digits_table, write_store


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("nowhere.lance", "store: .*nowhere.lance does not exist; write one with: salience embed"),
        ("qdrant://host:6333/items", "store: qdrant://host:6333/items is on a server"),
        ("s3://bucket/items.lance", "store: .* is on a server"),
        ("file.lance", "store: .*file.lance is a file"),
        ("table.parquet", "store: .*table.parquet is an export, .* --out .*table.lance"),
        ("folder.lance", "store: .*folder.lance is not a store of embeddings"),
    ],
)
def test_what_is_no_store_is_refused(tmp_path, monkeypatch, uri, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.lance").write_text("")
    (tmp_path / "table.parquet").write_text("")
    (tmp_path / "folder.lance").mkdir()
    with pytest.raises(UserError, match=complaint):
        open_store(uri)


def test_a_table_of_somebody_else_is_refused(tmp_path):
    lance.write_dataset(pa.table({"id": ["a"], "vector": [[1.0]]}), str(tmp_path / "other.lance"))
    with pytest.raises(UserError, match=r"^store: .*other.lance was not written by salience"):
        open_store(tmp_path / "other.lance")


def test_a_store_of_a_later_version_is_refused(tmp_path):
    path = write_store(tmp_path / "new.lance", digits_table(slice(5)), format=99)
    with pytest.raises(UserError, match=r"^store: .*has format 99, this version reads up to 1; upgrade salience"):
        open_store(path)


@pytest.mark.parametrize("about", ["{", "[]", "3", json.dumps({"method": "pca"}), json.dumps({"format": "one"})])
def test_a_table_that_says_nonsense_of_itself_is_refused(tmp_path, about):
    table = digits_table(slice(5)).replace_schema_metadata({b"salience": about})
    lance.write_dataset(table, str(tmp_path / "odd.lance"))
    with pytest.raises(UserError, match=r"^store: .*odd.lance") as refused:
        open_store(tmp_path / "odd.lance")
    assert "\n" not in str(refused.value)


def damage(folder, what):
    """Every file of a kind, cut short or full of zeros."""
    for file in (folder / what).rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def use(path):
    store = open_store(path)
    store.column("id")
    store.vectors()
    store.thumbnails([0])
    store.where("x > 0")
    store.search(DIGITS.data[0])


@pytest.mark.parametrize("what", ["_versions", "data"])
def test_damaged_files_are_one_line(store, tmp_path, what):
    path = tmp_path / "damaged.lance"
    shutil.copytree(store.path, path)
    damage(path, what)
    with pytest.raises(UserError, match=r"^store: .*damaged.lance") as refused:
        use(path)
    assert "\n" not in str(refused.value)


def test_missing_files_are_one_line(store):
    shutil.rmtree(store.path / "data")
    with pytest.raises(UserError, match=r"^store: .*digits.lance"):
        use(store.path)


def test_a_store_opens_wherever_it_is_copied(store, tmp_path):
    store.marks.mark(["digit-0001"], "one")
    store.build_index()
    shutil.copytree(store.path, tmp_path / "elsewhere" / "copy.lance")
    shutil.rmtree(store.path)
    copy = open_store(tmp_path / "elsewhere" / "copy.lance")
    assert copy.marks.all() == {"digit-0001": "one"}
    assert copy.search(DIGITS.data[17], 1).rows.tolist() == [17]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_store_that_may_not_be_read(store):
    store.path.chmod(0)
    with pytest.raises((UserError, OSError)):
        open_store(store.path)
    store.path.chmod(0o755)
