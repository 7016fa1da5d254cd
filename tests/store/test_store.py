"""What a store promises, of the one in a folder."""

import shutil
import signal
import subprocess
import sys
import threading

import lance
import numpy as np
import pyarrow as pa
import pytest

from salience.errors import UserError
from salience.store import lance_store, open_store
from tests.store.conftest import DIGITS, append, digits_table, vectors_table, write_store


def nearest(x, query, k, rows=None):
    """Rows and distances by NumPy, in float64."""
    rows = np.arange(len(x)) if rows is None else rows
    x, query = x[rows].astype(np.float64), query.astype(np.float64)
    distances = 1 - x @ query / np.linalg.norm(x, axis=1) / np.linalg.norm(query)
    order = np.argsort(distances, kind="stable")[:k]
    return rows[order], distances[order]


# --- what it holds --------------------------------------------------------------------------------------------------


def test_what_was_written_is_there(store):
    assert (len(store), store.dim, store.name) == (400, 64, "digits.lance")
    assert store.about["method"] == "pca"
    assert store.columns == {"id": "text", "label": "text", "x": "number", "y": "number", "marked": "text"}
    np.testing.assert_array_equal(store.vectors(), DIGITS.data[:400])
    np.testing.assert_array_equal(store.vectors([5, 3, 5]), DIGITS.data[[5, 3, 5]])
    assert store.column("label", [1, 0]).tolist() == ["1", "0"]
    np.testing.assert_array_equal(store.column("x"), DIGITS.data[:400, 20] - 8)
    assert store.find("digit-0007") == 7
    assert store.find("digit-9999") is None
    assert store.find("' OR '1'='1") is None
    assert all(png.startswith(b"\x89PNG") for png in store.thumbnails([0, 399]))


def test_blocks_are_all_vectors_in_order(store):
    blocks = list(store.blocks(64))
    assert max(map(len, blocks)) <= 64
    np.testing.assert_array_equal(np.concatenate(blocks), DIGITS.data[:400])


def test_items_without_pictures_and_labels(make_store):
    store = make_store(10, pictures=False, labels=False)
    assert store.thumbnails([0, 1]) == [None, None]
    assert store.column("label").tolist() == [None] * 10


@pytest.mark.parametrize("rows", [[-1], [400], [0, 999]])
def test_rows_that_are_not_there_are_refused(store, rows):
    with pytest.raises(UserError, match=r"^rows: .* within 0..399"):
        store.vectors(rows)


def test_a_column_that_is_not_there_is_refused(store):
    with pytest.raises(UserError, match=r"^column: digits.lance has no column 'lable'; it has: id, label"):
        store.column("lable")


# --- search ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("indexed", [False, True])
def test_search_is_numpys(store, exact, indexed):
    if indexed:
        store.build_index()
        assert store.indexed == 400
    for query in DIGITS.data[400:410]:
        hits = store.search(query, 12, exact=exact)
        rows, distances = nearest(DIGITS.data[:400], query, 12)
        np.testing.assert_array_equal(hits.rows, rows)
        np.testing.assert_allclose(hits.distances, distances, atol=2e-6)


@pytest.mark.parametrize("few", [0, 5000])
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("where", ["label = 3", "label in ('1', '7') and x > 0", "x > 100", "id = 'digit-0011'"])
def test_search_respects_a_condition(store, monkeypatch, few, indexed, where):
    monkeypatch.setattr(lance_store, "FEW", few)
    monkeypatch.setattr(lance_store, "LISTS_OF", 20)
    monkeypatch.setattr(lance_store, "PROBES", 2)
    if indexed:
        store.build_index()
    matching = store.where(where)
    for exact in (True, False):
        hits = store.search(DIGITS.data[500], 10, where=where, exact=exact)
        rows, distances = nearest(DIGITS.data[:400], DIGITS.data[500], 10, matching)
        assert len(hits) == min(10, len(matching))
        if exact or not indexed or len(matching) <= few:
            np.testing.assert_array_equal(hits.rows, rows)
            np.testing.assert_allclose(hits.distances, distances, atol=2e-6)
        assert set(hits.rows) <= set(matching)


def test_what_was_appended_after_the_index_is_found_too(store):
    store.build_index()
    append(store.path, digits_table(slice(400, 500)))
    store.refresh()
    assert store.indexed == 400
    hits = store.search(DIGITS.data[450], 1)
    assert hits.rows.tolist() == [450]


def test_more_hits_than_items_are_all_items(store):
    hits = store.search(DIGITS.data[0], 1000)
    assert sorted(hits.rows) == list(range(400))
    assert np.all(np.diff(hits.distances) >= 0)
    assert len(hits.without(int(hits.rows[0]))) == 399


def test_a_vector_without_a_direction_is_as_far_from_all(tmp_path):
    x = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]] * np.array([[1], [1], [1], [0], [2]])
    store = open_store(write_store(tmp_path / "t.lance", vectors_table(x)))
    hits = store.search(np.eye(4)[0], 5)
    assert np.isfinite(hits.distances).all()
    assert set(hits.rows[:2]) == {0, 4}
    assert np.isfinite(store.search(np.zeros(4), 5).distances).all()


@pytest.mark.parametrize(
    ("query", "k", "complaint"),
    [
        (np.ones(3), 1, "query: a vector of 3 numbers; digits.lance holds vectors of 64"),
        (np.full(64, np.nan), 1, "query: a vector with a value that is not finite"),
        (np.ones(64), 0, "k: 0 is not a whole number of at least 1"),
        (np.ones(64), 2.5, "k: 2.5 is not a whole number of at least 1"),
        (np.ones(64), True, "k: True is not a whole number of at least 1"),
    ],
)
def test_queries_that_are_none(store, query, k, complaint):
    with pytest.raises(UserError, match=f"^{complaint}"):
        store.search(query, k)


# --- conditions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("label = 3", lambda y, x: y == 3),
        ("label = '3' OR x > 4", lambda y, x: (y == 3) | (x > 4)),
        ("NOT label IN (1, 2, 3)", lambda y, x: ~np.isin(y, [1, 2, 3])),
        ("x BETWEEN -2 AND 2 AND label != 0", lambda y, x: (np.abs(x) <= 2) & (y != 0)),
        ("label LIKE '_' AND id LIKE 'digit-%'", lambda y, x: np.ones(400, bool)),
        ("label IS NULL", lambda y, x: np.zeros(400, bool)),
        ("x > +1", lambda y, x: x > 1),
        ("x IN (+1, -1.5, 2e0)", lambda y, x: np.isin(x, [1, 2])),
        ("NOT x = y AND x BETWEEN -1 AND +1.5", lambda y, x: (x != DIGITS.data[:400, 30] - 8) & (x >= -1) & (x <= 1.5)),
        ("marked IS NULL", lambda y, x: np.ones(400, bool)),
    ],
)
def test_where_is_the_rows_that_satisfy_it(store, where, expected):
    rows = np.flatnonzero(expected(DIGITS.target[:400], DIGITS.data[:400, 20] - 8))
    np.testing.assert_array_equal(store.where(where), rows)
    np.testing.assert_array_equal(store.where(where, limit=3), rows[:3])


@pytest.mark.parametrize(
    "where",
    [
        "label = '3'; DROP TABLE x",
        "id IN (SELECT id FROM t)",
        "repeat(label, 1000000000) = 'a'",  # which once ended the process: no memory
        "read_parquet('/etc/passwd') IS NULL",
        "random() < 0.5",
        "vector IS NOT NULL",
        "content = 3",
        "wrong = 3",
        "x" + " + 1" * 3000 + " > 0",  # which once ended the process: no stack
        "",
    ],
)
def test_where_can_do_no_more_than_filter(store, where):
    for use in (store.where, lambda one: store.search(DIGITS.data[0], where=one)):
        with pytest.raises(UserError, match=r"^where: ") as refused:
            use(where)
        assert "\n" not in str(refused.value)
    assert len(store) == 400


def test_the_longest_condition_is_no_danger(store):
    assert len(store.where(" OR ".join(["x > 1"] * 2000))) == len(store.where("x > 1"))
    ids = ", ".join(f"'digit-{row:04d}'" for row in range(1200))
    assert len(store.where(f"id IN ({ids})")) == 400


def test_labels_given_by_hand_can_be_asked_for(store):
    store.marks.mark(["digit-0003", "digit-0008"], "odd one")
    assert store.where("marked = 'odd one'").tolist() == [3, 8]
    assert store.search(DIGITS.data[3], where="marked IS NOT NULL").rows.tolist() == [3, 8]
    store.marks.undo()
    assert store.where("marked = 'odd one'").tolist() == []
    assert store.column("marked", [3]).tolist() == [None]


# --- columns --------------------------------------------------------------------------------------------------------


def test_columns_come_back_as_they_went(store):
    numbers, whole = np.where(np.arange(400) % 3, np.arange(400) / 7, np.nan), [None, *range(399)]
    store.write_columns({"number": numbers, "whole": whole, "text": ["ü", None] * 200, "none": [None] * 400})
    for one in (store, open_store(store.path)):
        np.testing.assert_array_equal(one.column("number"), numbers)
        np.testing.assert_array_equal(one.column("whole"), [np.nan, *range(399)])
        assert one.column("text").tolist() == ["ü", None] * 200
        assert one.column("none").tolist() == [None] * 400
    assert store.where("whole = 5").tolist() == [6]
    assert store.where("number IS NULL").tolist() == list(range(0, 400, 3))


def test_a_column_is_replaced_and_its_kind_may_change(store):
    store.write_columns({"cluster": np.arange(400)})
    store.write_columns({"cluster": ["a"] * 400, "other": np.ones(400)})
    assert store.columns["cluster"] == "text"
    assert store.column("cluster", [7]).tolist() == ["a"]
    np.testing.assert_array_equal(store.vectors(), DIGITS.data[:400])


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("whole > 1.5", lambda whole: whole > 1.5),
        ("whole >= +17", lambda whole: whole >= 17),
        ("whole = 1e1", lambda whole: whole == 10),
        ("whole = 10.5", lambda whole: whole == 10.5),
        ("whole IN (3, 4.0, 5.5)", lambda whole: np.isin(whole, [3, 4])),
        ("whole NOT BETWEEN 2.5 AND 397.5", lambda whole: (whole < 2.5) | (whole > 397.5)),
        ("whole < 99999999999999999999 AND whole > -9223372036854775809", lambda whole: whole >= 0),
        ("whole = 9223372036854775808", lambda whole: whole < 0),
        ("whole < 9223372036854775807", lambda whole: whole >= 0),
        ("even = 1", lambda whole: whole % 2 == 0),
        ("even IN (0) AND whole > 3", lambda whole: (whole % 2 == 1) & (whole > 3)),
        ("even != x", lambda whole: (whole % 2 == 0) != (DIGITS.data[:400, 20] - 8)),
        ("`even` IS NOT NULL AND none IS NULL AND some = 0", lambda whole: whole % 3 == 0),
    ],
)
def test_whole_numbers_and_booleans_compare_with_any_number(store, where, expected):
    whole = np.arange(400)
    some = [None if number % 3 == 1 else number % 3 == 2 for number in range(400)]
    store.write_columns({"whole": whole, "even": whole % 2 == 0, "none": [None] * 400, "some": some})
    assert store.where(where).tolist() == np.flatnonzero(expected(whole)).tolist()


def test_a_condition_the_engine_refuses_does_not_show_its_query(store, monkeypatch):
    def refusing(*_, **options):
        raise ValueError(f"Invalid user input: Error resolving filter {options['filter']}, /home/lance.rs:3")

    monkeypatch.setattr(lance.LanceDataset, "to_table", refusing)
    with pytest.raises(UserError, match=r"^where: 'x > 1' cannot be evaluated on these columns; write one") as refused:
        store.where("x > 1")
    assert "`" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "free"),
    [("sepal.length", "sepal_length"), ("a`b", "a_b"), ("_rowid", "column_rowid"), ("p__old", "p__old_")],
)
def test_a_name_that_a_column_cannot_have_is_refused_with_one_that_it_can(store, name, free):
    with pytest.raises(UserError, match=f"^columns: a store cannot have a column '{name}'; name it '{free}'$"):
        store.write_columns({name: np.zeros(400)})
    store.write_columns({free: np.arange(400)})
    assert store.where(f"{free} = 3").tolist() == [3]


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": "1" * 64},
        {"method": "vae"},
        {"id": "another"},
    ],
)
def test_a_store_that_was_replaced_is_not_written_to(store, changed):
    """As many items of another run, or of another source, would take columns that were found on those before."""
    shutil.rmtree(store.path)
    write_store(store.path, digits_table(slice(400)), **changed)
    write = {"cluster": np.zeros(400)}
    for use in (lambda: store.write_columns(write), store.refresh, store.refresh_columns, store.build_index):
        with pytest.raises(UserError, match=r"^store: .*digits.lance was replaced by another store .*; open it again"):
            use()
    assert "cluster" not in open_store(store.path).columns


def test_a_store_that_was_removed_does_not_come_back(store):
    shutil.rmtree(store.path)
    with pytest.raises(UserError, match=r"^store: .*digits.lance does not exist"):
        store.write_columns({"cluster": np.zeros(400)})
    assert not store.path.exists()


@pytest.mark.parametrize("name", ["id", "vector", "thumbnail", "content"])
def test_what_is_not_replaced(store, name):
    with pytest.raises(UserError, match=f"^columns: '{name}' is a built-in column"):
        store.write_columns({name: np.zeros(400)})


def test_a_column_of_another_length_is_refused(store):
    with pytest.raises(UserError, match=r"^columns: 'x' has 3 values, digits.lance has 400 items"):
        store.write_columns({"x": [1, 2, 3]})


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("stop_at", range(3))
@pytest.mark.parametrize("after", [False, True])
def test_a_stop_at_any_step_leaves_the_old_or_the_new(store, monkeypatch, stop_at, after):
    """What is on the disk after each change of the table is what a killed process leaves there."""
    store.write_columns({"a": np.zeros(400), "b": np.zeros(400)})
    steps, table = [], lance.LanceDataset

    def stopping(change):
        def call(*args, **options):
            steps.append(change.__name__)
            if len(steps) - 1 == stop_at and not after:
                raise KilledError
            done = change(*args, **options)
            if len(steps) - 1 == stop_at:
                raise KilledError
            return done

        return call

    for name in ("add_columns", "alter_columns", "drop_columns"):
        monkeypatch.setattr(table, name, stopping(getattr(table, name)))
    with pytest.raises(KilledError):
        store.write_columns({"a": np.ones(400), "b": np.ones(400), "c": np.ones(400)})
    monkeypatch.undo()
    assert len(steps) == stop_at + 1
    again = open_store(store.path)
    values = {name: again.column(name) for name in again.columns if name in "abc"}
    assert list(values) in (["a", "b"], ["a", "b", "c"])
    assert {value for column in values.values() for value in column} == {float("c" in values)}
    assert not any(name.startswith(("a_", "b_", "c_")) for name in again.columns)
    again.write_columns({"a": np.full(400, 2)})
    assert not any("__" in name for name in lance.dataset(str(store.path)).schema.names)


WRITER = """
import sys, numpy as np
from salience.store import open_store
store = open_store(sys.argv[1])
for value in range(1000):
    store.write_columns({"a": np.full(400, value)})
    print(value, flush=True)
"""


def test_a_killed_process_leaves_the_old_or_the_new(store):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(5)][-1]
        process.send_signal(signal.SIGKILL)
        seen = max([seen, *map(int, process.stdout.read().split())])
    values = set(open_store(store.path).column("a"))
    assert values in ({seen}, {seen + 1})
    open_store(store.path).write_columns({"a": np.zeros(400)})  # nobody holds it any more


def test_writers_take_turns(store):
    """Two stores on one folder, as in two processes: the table alone would refuse one of the two."""
    problems = []

    def write(name):
        try:
            mine = open_store(store.path)
            for value in range(4):
                mine.write_columns({name: np.full(400, value)})
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    store.refresh()
    assert {name: set(store.column(name)) for name in "abc"} == {name: {3.0} for name in "abc"}


# --- growing --------------------------------------------------------------------------------------------------------


def test_rows_stay_where_they_are(store):
    store.marks.mark(["digit-0399"], "last")
    before = store.column("id")
    store.write_columns({"cluster": np.arange(400)})
    append(store.path, digits_table(slice(400, 450)).append_column("cluster", pa.array(np.zeros(50, np.int64))))
    store.refresh()
    assert store.column("id")[:400].tolist() == before.tolist()
    np.testing.assert_array_equal(store.vectors(), DIGITS.data[:450])
    assert store.find("digit-0420") == 420
    assert store.where("marked = 'last' OR id = 'digit-0430'").tolist() == [399, 430]
    store.write_columns({"cluster": np.arange(450)[::-1]})
    assert store.column("cluster", [449, 0, 400]).tolist() == [0, 449, 49]
    store.build_index()
    assert store.search(DIGITS.data[425], 1).rows.tolist() == [425]


def test_columns_are_read_in_other_threads_while_one_is_written(store):
    done, problems = threading.Event(), []

    def read():
        while not done.is_set():
            try:
                assert "label" in store.columns
                assert len(store.column("id", [0, 299])) == len(store.search(store.vectors([7])[0], 2))
            except Exception as problem:
                problems.append(repr(problem))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(8):
        store.write_columns({"cluster": np.full(400, number), "anomaly": np.full(400, number / 2)})
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


@pytest.mark.parametrize("few", [0, 5000])
def test_a_condition_about_what_is_near_is_searched_as_if_without_index(make_store, monkeypatch, few):
    """The lists near a 0 hold few 3s, and the index alone would miss the nearest of them."""
    monkeypatch.setattr(lance_store, "FEW", few)
    monkeypatch.setattr(lance_store, "LISTS_OF", 20)
    monkeypatch.setattr(lance_store, "PROBES", 2)
    store = make_store(1500)
    store.build_index()
    for query in store.vectors(range(0, 200, 10)):
        found = store.search(query, 10, where="label = '3'")
        np.testing.assert_array_equal(found.rows, store.search(query, 10, where="label = '3'", exact=True).rows)


def test_a_column_for_items_that_were_added_meanwhile_is_refused(store, tmp_path):
    append(tmp_path / "digits.lance", digits_table(slice(400, 410)))
    with pytest.raises(UserError, match=r"^columns: 'cluster' has 400 values, digits.lance has 410 items"):
        store.write_columns({"cluster": np.zeros(400)})
    assert len(store) == 400
    assert "cluster" not in open_store(store.uri).columns
