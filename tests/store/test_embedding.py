"""What is new is embedded once, whoever does it and however often it is killed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from salience.cli import main
from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.representation import Representation, load
from salience.store import embedding, open_store, parts
from salience.store.embedding import Added, embed_into, representation_of
from salience.store_names import parse_shard
from salience.training import fit
from salience.verbs.export import embed_to


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_data("digits", progress=False)


@pytest.fixture(scope="module")
def pca(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Representation:
    return fit("pca", digits, out=tmp_path_factory.mktemp("runs") / "pca", dim=12, progress=False)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 16)


def embed(rep: Representation, data: Dataset, path: Path, shard: str = "1/1") -> Added:
    return embed_into(rep, data, path, parse_shard(shard), progress=False)


def count_embedded(monkeypatch: pytest.MonkeyPatch, fail_after: int = 10**9) -> list[int]:
    """How many items each call embeds; the process "dies" after some of them."""
    calls: list[int] = []
    plain = Representation.embed

    def counting(self: Representation, source: Dataset, **options: object) -> np.ndarray:
        if len(calls) == fail_after:
            raise KeyboardInterrupt
        calls.append(len(source))
        return plain(self, source)

    monkeypatch.setattr(Representation, "embed", counting)
    return calls


def test_a_store_holds_id_label_vector_picture_and_place(pca: Representation, digits: Dataset, tmp_path: Path) -> None:
    data = digits.subset(range(40))
    data = replace(data, labels=np.where(np.arange(40) == 7, -1, data.labels))
    assert embed(pca, data, tmp_path / "d.lance").new == 40
    store = open_store(tmp_path / "d.lance")
    np.testing.assert_array_equal(store.vectors(), pca.embed(data).astype(np.float32))
    assert list(store.column("id")) == list(data.ids)
    assert data.labels is not None
    assert list(store.column("label")) == [None if y < 0 else data.classes[y] for y in data.labels]
    with Image.open(io.BytesIO(store.thumbnails([3])[0] or b"")) as image:
        np.testing.assert_allclose(np.asarray(image) / 255, data.item(3)[0] / data.spec.high, atol=1 / 255)
    x, y = store.column("x"), store.column("y")
    unit = store.vectors() / np.linalg.norm(store.vectors(), axis=1, keepdims=True)
    directions = np.linalg.svd(unit - unit.mean(0), full_matrices=False)[2][:2]
    theirs = (unit - unit.mean(0)) @ directions.T
    np.testing.assert_allclose(np.abs(np.stack([x, y], axis=1)), np.abs(theirs), atol=1e-5)
    assert store.about["sources"] == [
        {"name": data.name, "split": data.split, "fingerprint": data.fingerprint, "rows": 40}
    ]
    assert not list(tmp_path.glob(".*"))


def test_only_what_is_new_is_embedded(
    pca: Representation, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.lance"
    embed(pca, digits.subset(range(20)), path)
    open_store(path).write_columns({"cluster": np.arange(20)})
    calls = count_embedded(monkeypatch)
    assert embed(pca, digits.subset(range(20)), path).new == 0
    assert calls == []
    assert embed(pca, digits.subset(range(50)), path).new == 30
    assert sum(calls) == 30
    store = open_store(path)
    assert list(store.column("id")) == [str(row) for row in range(50)]
    np.testing.assert_array_equal(store.vectors(), pca.embed(digits.subset(range(50))).astype(np.float32))
    assert list(store.column("cluster")[:20]) == list(range(20))
    assert np.isnan(store.column("cluster")[20:]).all()
    assert not np.isnan(store.column("x")).any()


def test_items_of_another_source_keep_apart(pca: Representation, digits: Dataset, tmp_path: Path) -> None:
    path, other = tmp_path / "d.lance", replace(digits.subset(range(20, 25)), ids=list("01234"), split="test")
    embed(pca, digits.subset(range(5)), path)
    assert embed(pca, other, path).new == 5
    assert embed(pca, other, path).new == 0
    store = open_store(path)
    assert list(store.column("id")) == [*"01234", *(f"digits:test/{row}" for row in range(5))]
    assert [source["split"] for source in store.about["sources"]] == [digits.split, "test"]


def test_an_item_that_has_changed_takes_its_own_place(pca: Representation, digits: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "d.lance"
    embed(pca, digits.subset(range(20)), path)
    swapped = digits.subset([0, 1, 2, 9, *range(4, 20)])
    changed = replace(swapped, ids=[str(row) for row in range(20)])
    assert embed(pca, changed, path).new == 1
    store = open_store(path)
    assert len(store) == 20
    row = store.find("3")
    assert row is not None
    np.testing.assert_array_equal(store.vectors([row])[0], pca.embed(digits.subset([9])).astype(np.float32)[0])


def test_a_killed_embedding_goes_on_where_it_was(
    pca: Representation, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "d.lance", digits.subset(range(100))
    with monkeypatch.context() as patch:
        calls = count_embedded(patch, fail_after=3)
        with pytest.raises(KeyboardInterrupt):
            embed(pca, data, path)
        assert sum(calls) == 48
    assert not path.exists()
    with monkeypatch.context() as patch:
        calls = count_embedded(patch)
        embed(pca, data, path)
        assert sum(calls) == 52
    np.testing.assert_array_equal(open_store(path).vectors(), pca.embed(data).astype(np.float32))


def test_shards_in_any_order_and_of_any_number_make_the_store_of_one(
    pca: Representation, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "d.lance", digits.subset(range(100))
    calls = count_embedded(monkeypatch)
    assert embed(pca, data, path, "2/3").left == 68
    assert (tmp_path / ".d.lance.parts" / "shard-2-of-3.done").exists()
    with pytest.raises(UserError, match=r"^store: .*d.lance is incomplete; run the other shards"):
        open_store(path)
    assert embed(pca, data, path, "2/3").left == 68
    assert embed(pca, data, path, "3/3").left == 36
    assert embed(pca, data, path, "1/2").left == 16  # another number of shards does what is left of its own
    assert not path.exists()
    assert embed(pca, data, path, "2/2").left == 0
    assert sum(calls) == 100
    monkeypatch.undo()
    assert embed(pca, data, path, "1/3").new == 0
    np.testing.assert_array_equal(open_store(path).vectors(), pca.embed(data).astype(np.float32))


def test_a_process_killed_after_the_parts_were_brought_in_repeats_nothing(
    pca: Representation, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "d.lance", digits.subset(range(40))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "remove_parts", die)
        with pytest.raises(KeyboardInterrupt):
            embed(pca, data, path)
    assert (tmp_path / ".d.lance.parts").exists()
    assert embed(pca, data, path).new == 0
    assert len(open_store(path)) == 40
    assert "x" in open_store(path).columns
    assert not list(tmp_path.glob(".*"))


def test_who_comes_late_finds_the_parts_brought_in(
    pca: Representation, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "d.lance", digits.subset(range(40))
    plain = parts.Parts.embed

    def overtaken(self: parts.Parts, *given: object) -> None:
        monkeypatch.setattr(parts.Parts, "embed", plain)
        plain(self, *given)  # type: ignore[arg-type]
        embed(pca, data, path)  # another process, which is first to bring them in

    monkeypatch.setattr(parts.Parts, "embed", overtaken)
    assert embed(pca, data, path).left == 0
    assert len(open_store(path)) == 40
    assert not list(tmp_path.glob(".*"))


def test_sigkill_while_it_embeds_loses_and_repeats_nothing(
    pca: Representation, digits: Dataset, tmp_path: Path
) -> None:
    """A process of its own, killed by its own hand in the middle of the third part."""
    script = f"""
import os, signal
from salience.store import embedding, parts
from salience.representation import Representation, load
from salience.data import open_data
parts.PART = 16
plain, calls = Representation.embed, []
def dying(self, source, **options):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, source)
Representation.embed = dying
embedding.embed_into(load({str(pca.run)!r}), open_data("digits", progress=False).subset(range(60)),
                     __import__("pathlib").Path({str(tmp_path / "d.lance")!r}), (1, 1), False)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / ".d.lance.parts").glob("0*.arrow"))) == 2
    embed(pca, digits.subset(range(60)), tmp_path / "d.lance")
    assert list(open_store(tmp_path / "d.lance").column("id")) == [str(row) for row in range(60)]


def test_embeddings_of_another_run_are_refused(pca: Representation, digits: Dataset, tmp_path: Path) -> None:
    path, data = tmp_path / "d.lance", digits.subset(range(30))
    embed(pca, data, path)
    other = fit("pca", digits.subset(range(500)), out=tmp_path / "other", dim=12, progress=False)
    with pytest.raises(UserError, match=r"^out: .* holds embeddings of another run, pca \(.*pca\)"):
        embed(other, data, path)
    with pytest.raises(UserError, match=r"^run: .* is not the run that d.lance was embedded with"):
        representation_of(open_store(path), tmp_path / "other")
    assert representation_of(open_store(path)).method_name == "pca"
    with pytest.raises(UserError, match=r"^run: .*gone does not exist"):
        representation_of(open_store(path), tmp_path / "gone")
    folder = tmp_path / ".new.lance.parts"
    embed(pca, data, tmp_path / "new.lance", "1/2")
    with pytest.raises(UserError, match=r"^out: .* holds parts of another embedding"):
        embed(pca, digits.subset(range(50)), tmp_path / "new.lance")
    assert len(list(folder.glob("*.arrow"))) == 1


def test_what_is_no_store_is_left_alone(pca: Representation, digits: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "photos.lance"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"^out: .*photos.lance is not a store"):
        embed(pca, digits.subset(range(3)), folder)
    assert [entry.name for entry in folder.iterdir()] == ["holiday.jpg"]
    for text in ("0/2", "3/2", "2", "a/b", "1/0"):
        with pytest.raises(UserError, match=r"^shard: "):
            parse_shard(text)
    with pytest.raises(UserError, match=r"^shard: a Parquet file"):
        embed_to(pca, digits, tmp_path / "x.parquet", shard="1/2")
    with pytest.raises(UserError, match=r"^out: .*NAME\.lance"):
        embed_to(pca, digits, tmp_path / "x.csv")
    for place in ("qdrant://host:1/c", Path("qdrant://host:1/c")):
        with pytest.raises(UserError, match=r"^out: qdrant:.* is on a server"):
            embed_to(pca, digits, place)
        with pytest.raises(UserError, match=r"^store: qdrant:.* is on a server"):
            open_store(place)


def test_the_columns_of_a_table_come_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"width": [1.0, 2.5, np.nan, 4.0] * 5, "kind": ["a", "b", None, "b"] * 5, "x": range(20)})
    frame.to_csv(tmp_path / "flowers.csv", index=False)
    run, path = tmp_path / "run", tmp_path / "flowers.lance"
    assert main(["fit", "pca", str(tmp_path / "flowers.csv"), "--dim", "2", "--out", str(run)]) == 0
    assert main(["embed", str(run), str(tmp_path / "flowers.csv"), "--out", str(path)]) == 0
    assert "20 new items" in capsys.readouterr().err
    store = open_store(path)
    assert store.columns == {
        "id": "text", "label": "text", "width": "number", "kind": "text", "x_": "number", "x": "number", "y": "number",
        "marked": "text",
    }  # fmt: skip
    np.testing.assert_array_equal(store.column("width")[:4], [1.0, 2.5, np.nan, 4.0])
    assert list(store.column("kind")[:4]) == ["a", "b", None, "b"]
    assert list(store.where("width > 2 AND kind = 'b'")[:2]) == [1, 3]
    assert store.thumbnails([0]) == [None]
    assert main(["embed", str(run), str(tmp_path / "flowers.csv"), "--out", str(path), "--shard", "1/0"]) == 2
    assert "--shard: '1/0' is no share" in capsys.readouterr().err


def test_the_column_the_run_was_told_to_take_for_labels_is_that_of_the_store(tmp_path: Path) -> None:
    frame = pd.DataFrame({"width": np.arange(20.0), "cluster": np.arange(20.0) ** 2, "kind": ["a", "b"] * 10})
    frame.to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "run"
    assert main(["fit", "pca", str(tmp_path / "t.csv"), "--labels", "kind", "--dim", "2", "--out", str(run)]) == 0
    for out in (tmp_path / "t.lance", tmp_path / "t.parquet"):
        assert main(["embed", str(run), str(tmp_path / "t.csv"), "--out", str(out)]) == 0
    store = open_store(tmp_path / "t.lance")
    assert list(store.column("label")) == ["a", "b"] * 10
    assert {"width", "cluster_"} <= set(store.columns)
    assert list(pd.read_parquet(tmp_path / "t.parquet")["label"]) == ["a", "b"] * 10


def test_many_items_get_an_index_that_finds_the_same(
    pca: Representation, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "INDEXED", 500)
    path = tmp_path / "d.lance"
    embed(pca, digits.subset(range(400)), path)
    assert open_store(path).indexed == 0
    embed(pca, digits.subset(range(600)), path)
    assert open_store(path).indexed == 600
    embed(pca, digits.subset(range(620)), path)  # a few more are looked at one by one
    assert open_store(path).indexed == 600
    embed(pca, digits.subset(range(700)), path)
    store = open_store(path)
    assert store.indexed == 700
    for query in store.vectors([3, 300]):
        near, exact = store.search(query, 10), store.search(query, 10, exact=True)
        np.testing.assert_array_equal(near.rows, exact.rows)
        np.testing.assert_allclose(near.distances, exact.distances, atol=1e-5)


def test_what_a_store_says_it_is_about_is_plain_json(pca: Representation, digits: Dataset, tmp_path: Path) -> None:
    embed(pca, digits.subset(range(3)), tmp_path / "d.lance")
    about = json.loads(json.dumps(open_store(tmp_path / "d.lance").about))
    assert (about["method"], about["dim"], about["modality"]) == ("pca", 12, "image")
    assert load(about["run"]).spec.to_dict() == about["spec"]
