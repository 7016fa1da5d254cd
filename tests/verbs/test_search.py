import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from salience.cli import main
from salience.errors import UserError
from salience.store import open_store
from salience.training import fit
from salience.verbs.export import embed_to
from salience.verbs.search import as_list, near, search
from tests.store.conftest import DIGITS, vectors_table, write_store


@pytest.fixture(scope="session")
def embedded(pca, digits, tmp_path_factory):
    """300 digits as PCA sees them."""
    return embed_to(pca, digits.subset(range(300)), tmp_path_factory.mktemp("stores") / "pca.lance", progress=False)


def expected(query, k, without=None):
    """Ids by NumPy, in float64."""
    x = DIGITS.data[:400].astype(np.float64)
    cosine = x @ query / np.linalg.norm(x, axis=1) / np.linalg.norm(query)
    order = [row for row in np.argsort(-cosine, kind="stable") if row != without][:k]
    return [f"digit-{row:04d}" for row in order], 1 - cosine[order]


def test_an_item_finds_the_others_nearest_to_it(store):
    found = search(store, "digit-0013", k=5)
    ids, distances = expected(DIGITS.data[13], 5, without=13)
    assert found.table["id"].tolist() == ids
    np.testing.assert_allclose(found.table["distance"], distances, atol=2e-6)
    assert found.table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert found.table["label"].tolist() == [str(DIGITS.target[int(id[-4:])]) for id in ids]


def test_each_hit_bears_its_own_label_and_distance(store):
    store.write_columns({"cluster": np.arange(400)})
    table = search(store, "digit-0013", k=100).table
    ids, distances = expected(DIGITS.data[13], 100, without=13)
    rows = [int(id[-4:]) for id in ids]
    assert rows != sorted(rows)
    assert len(set(table["label"])) > 3
    assert table["label"].tolist() == [str(DIGITS.target[row]) for row in rows]
    assert table["cluster"].tolist() == rows
    np.testing.assert_allclose(table["distance"], distances, atol=2e-6)


@pytest.mark.parametrize("form", ["array", "row", "list", "tensor", "text", "npy"])
def test_a_vector_in_any_form_finds_what_is_nearest_to_it(store, tmp_path, form):
    vector = DIGITS.data[450]
    np.save(tmp_path / "v.npy", vector[None])
    forms = {
        "array": vector,
        "row": vector[None],
        "list": vector.tolist(),
        "tensor": torch.from_numpy(vector),
        "text": json.dumps(vector.tolist()),
        "npy": tmp_path / "v.npy",
    }
    assert search(store.path, forms[form], k=7).table["id"].tolist() == expected(vector, 7)[0]


def test_an_equal_item_is_a_hit_of_a_vector_but_not_of_its_own_id(store):
    assert search(store, DIGITS.data[13], k=1).table["id"].tolist() == ["digit-0013"]
    assert "digit-0013" not in search(store, "digit-0013", k=399).table["id"].tolist()
    assert len(search(store, "digit-0013", k=500).table) == 399


def test_an_image_is_embedded_as_the_items_were(embedded, pca, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(digits.x[42][0]).save("forty-two.png")
    np.save("image.npy", digits.x[42])
    image = Image.open("forty-two.png")
    for query in ("forty-two.png", tmp_path / "forty-two.png", image, digits.x[42][0], digits.x[42], "image.npy"):
        hit = search(embedded, query, k=1).table.iloc[0]
        assert (hit["id"], hit["distance"]) == ("42", pytest.approx(0, abs=1e-6)), query
    assert search(embedded, image, k=1, run=pca).table["id"].tolist() == ["42"]


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
def test_an_image_in_a_file_of_an_array_is_one_item(embedded, digits, tmp_path, shape):
    np.save(tmp_path / "one.npy", digits.x[17].reshape(shape))
    assert search(embedded, tmp_path / "one.npy", 1).table["id"].tolist() == ["17"]


def test_the_id_is_meant_where_a_file_has_the_same_name(embedded, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(digits.x[42][0]).save("7", "PNG")
    assert "7" not in search(embedded, "7", k=20).table["id"].tolist()


def test_a_run_that_moved_is_named_and_another_is_refused(embedded, pca, digits, tmp_path):
    moved = tmp_path / "moved.lance"
    about = open_store(embedded).about
    write_store(moved, vectors_table(open_store(embedded).vectors()), **(dict(about) | {"run": str(tmp_path / "gone")}))
    with pytest.raises(UserError, match=r"^run: .*gone does not exist; name the run's folder"):
        search(moved, digits.x[42])
    assert search(moved, digits.x[42], k=1, run=pca.run).table["id"].tolist() == ["row-42"]
    other = fit("pca", digits.subset(range(100)), out=tmp_path / "other", dim=12, progress=False)
    for run in (other, other.run):
        with pytest.raises(UserError, match=r"^run: .* is not (the run that|what) moved.lance was embedded with"):
            search(moved, digits.x[42], run=run)


def test_a_condition_is_kept_to(store):
    found = search(store, "digit-0013", k=8, where="label = 5")
    assert found.table["label"].tolist() == ["5"] * 8
    few = search(store, "digit-0013", k=8, where="id IN ('digit-0001', 'digit-0002')")
    assert len(few.table) == 2
    assert "no more than 2 satisfy the condition" in few.text()
    none = search(store, "digit-0013", where="x > 100")
    assert (as_list(none), len(none.table)) == ([], 0)
    assert "no other item satisfies: x > 100" in none.text()


def test_what_is_known_of_the_hits_is_told(store):
    store.write_columns({"cluster": [None, *range(399)]})
    store.marks.mark(["digit-0000", "digit-0001"], "mine")
    table = search(store, DIGITS.data[0], k=3).table
    assert list(table) == ["rank", "id", "distance", "label", "marked", "cluster"]
    assert table["marked"][0] == "mine"
    hits = as_list(search(store, DIGITS.data[0], k=3))
    assert hits[0] == {"rank": 1, "id": "digit-0000", "distance": 0.0, "label": "0", "marked": "mine", "cluster": None}
    assert isinstance(hits[1]["cluster"], int)
    assert json.dumps(hits)


def test_a_picture_and_a_table_are_left(store, tmp_path):
    found = search(store, "digit-0003", k=12, out=tmp_path / "hits")
    assert {path.name for path in found.folder.iterdir()} == {"search.json", "items.csv", "picture.png"}
    assert pd.read_csv(tmp_path / "hits" / "items.csv")["id"].tolist() == found.table["id"].tolist()
    assert json.loads((tmp_path / "hits" / "search.json").read_text())["about"]["query"] == "digit-0003"
    assert f"picture: {tmp_path / 'hits' / 'picture.png'}" in found.text()


def test_items_without_pictures_leave_a_table(make_store, tmp_path):
    found = search(make_store(50, pictures=False), "digit-0003", out=tmp_path / "hits")
    assert {path.name for path in (tmp_path / "hits").iterdir()} == {"search.json", "items.csv"}
    assert f"written: {tmp_path / 'hits'}" in found.text()


@pytest.mark.parametrize(
    ("query", "options", "complaint"),
    [
        ("digit-00133", {}, "query: 'digit-00133' is neither an item nor a file; did you mean digit-0133"),
        ("zzz", {}, "query: 'zzz' is neither an item nor a file; give the id of an item, such as digit-0000, a file"),
        ("z" * 5000, {}, "query: 'z{80}' is neither an item nor a file"),
        ([1.0, 2.0], {}, "query: a vector of 2 numbers; digits.lance holds vectors of 64"),
        ("[1, two]", {}, r"query: '\[1, two\]' is not a vector; write numbers such as"),
        ({"a": 1}, {}, "query: dict is not a query"),
        ([float("inf")] * 64, {}, "query: a vector with a value that is not finite"),
        ("digit-0001", {"k": 0}, "k: 0 is not a whole number of at least 1"),
        ("digit-0001", {"k": 1.5}, "k: 1.5 is not a whole number of at least 1"),
        ("digit-0001", {"where": "lable = 3"}, "where: there is no column 'lable'; did you mean label"),
        ("image.png", {}, "run: the store does not say which run it is from"),
        ("folder", {}, "query: 'folder' is a folder; give a file of one item"),
        ("pickled.npy", {}, "query: .*pickled.npy"),
    ],
)
def test_mistakes_name_the_argument(store, tmp_path, monkeypatch, query, options, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    Image.new("L", (8, 8)).save("image.png")
    np.save("pickled.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UserError, match=f"^{complaint}") as refused:
        search(store, query, **options)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_image_or_of_many_items_is_refused(embedded, tmp_path, digits):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no image")
    with pytest.raises(UserError, match=r"^query: .*broken.png"):
        search(embedded, tmp_path / "broken.png")
    np.savez(tmp_path / "many.npz", x=digits.x[:3])
    with pytest.raises(UserError, match=r"^query: .*many.npz holds 3 items; give a file of one"):
        search(embedded, tmp_path / "many.npz")


def test_the_nearest_ids_are_not_sought_among_very_many(store, monkeypatch):
    monkeypatch.setattr("salience.verbs.search.MOST_NAMES", 10)
    assert near(store, "digit-01333").startswith("give the id of an item")


def test_as_a_command(store, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["search", str(store.path), "digit-0013", "-k", "3", "--where", "label = 3"]) == 0
    said = capsys.readouterr().out
    assert "search: pca on digits.lance, 400 items" in said
    assert said.count("digit-") == 4
    assert (tmp_path / "runs" / "search-1" / "picture.png").exists()
    assert main(["search", str(store.path), "digit-0013", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert [hit["id"] for hit in hits] == expected(DIGITS.data[13], 10, without=13)[0]
    assert set(hits[0]) == {"rank", "id", "distance", "label"}
    assert not (tmp_path / "runs" / "search-2").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("search nowhere.lance 3", "STORE: nowhere.lance does not exist"),
        ("search STORE digit-9999x", "QUERY: 'digit-9999x' is neither an item nor a file"),
        ("search STORE digit-0001 --where lable=3", "--where: there is no column 'lable'"),
        ("search STORE digit-0001 --run nowhere", "--run: nowhere does not exist"),
        ("search STORE digit-0001 -k 0", "-k: 0 is out of range"),
        ("search STORE digit-0001 --out .", "--out: . exists"),
        ("search STORE", "QUERY: none given"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(store, capsys, tmp_path, monkeypatch, words, complaint):
    monkeypatch.chdir(tmp_path)
    assert main([str(store.path) if word == "STORE" else word for word in words.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert complaint in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))
