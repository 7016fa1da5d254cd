"""Parquet and Arrow files, read by a process of their own that damage may end."""

import gc
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salience.data import open_data
from salience.data.sources import columnar_process
from salience.data.sources.columnar import _table
from salience.data.sources.columnar_process import Reader
from salience.errors import UserError

SIZES = {"rows": 65536, "wide_rows": 1024}


def frame(rows=20):
    return pd.DataFrame(
        {"a": np.arange(rows) + 0.5, "text": [f"text {i % 5}" for i in range(rows)], "label": ["x", "y"] * (rows // 2)}
    )


@pytest.fixture
def arrow(tmp_path):
    """An uncompressed Arrow file, so that each value lies in it as it is."""
    path = tmp_path / "data.arrow"
    table = pa.table({"a": np.arange(20.0), "text": [f"text {i % 5}" for i in range(20)]})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def offsets_in(path):
    """Where the offsets 0 6 12 ... of the texts begin."""
    return path.read_bytes().index(np.arange(0, 60, 6, dtype=np.int32).tobytes())


@pytest.mark.parametrize("offset", [2**31 - 1, 1 << 20, 500, -5])
def test_text_outside_of_the_file_is_refused(arrow, offset):
    content = bytearray(arrow.read_bytes())
    at = offsets_in(arrow) + 4 * 3
    content[at : at + 4] = int(offset).to_bytes(4, "little", signed=True)
    arrow.write_bytes(content)
    with pytest.raises(UserError, match=r"source: .*data\.arrow cannot be read; it is damaged.*offset"):
        open_data(arrow)


def test_bytes_that_are_no_text_are_refused(arrow):
    content = arrow.read_bytes()
    arrow.write_bytes(content.replace(b"text 3", b"text \xff"))
    with pytest.raises(UserError, match=r"data\.arrow cannot be read.*UTF8"):
        open_data(arrow)


def stand_in(tmp_path, monkeypatch, program):
    """A worker that does as `program` says when it is asked."""
    path = tmp_path / "worker.py"
    path.write_text(f"import os, signal, sys\nout = sys.stdout.buffer\nsys.stdin.readline()\n{program}\nout.flush()\n")
    monkeypatch.setattr(columnar_process, "WORKER", path)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"the reader process was killed by SIGSEGV"),
        (r"out.write(b'{\"error\": null}\n'); out.flush(); os.kill(os.getpid(), signal.SIGABRT)", "SIGABRT"),
        ("sys.exit(7)", "exit code 7"),
        (r"out.write(b'{\"error\": null}\n' + b'\x07\x08' * 100)", "damaged"),
        (r"out.write(b'{\"error\": \"two\\nlines\"}\n')", "two lines"),
    ],
)
def test_the_end_of_the_process_that_reads_is_a_refusal(tmp_path, monkeypatch, arrow, program, reason):
    stand_in(tmp_path, monkeypatch, program)
    with pytest.raises(UserError, match=f"data.arrow cannot be read.*{reason}") as refusal:
        open_data(arrow)
    assert "\n" not in str(refusal.value)


def test_what_a_process_sends_is_validated_again(tmp_path, monkeypatch, arrow):
    """Its memory may have been overwritten."""
    whole = arrow.read_bytes()
    table = pa.ipc.open_file(whole).read_all()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    sent = sink.getvalue().to_pybytes()
    at = sent.index(np.arange(0, 60, 6, dtype=np.int32).tobytes()) + 12
    (tmp_path / "sent").write_bytes(sent[:at] + (1 << 30).to_bytes(4, "little") + sent[at + 4 :])
    said = json.dumps({"error": None}).encode() + b"\n"
    stand_in(tmp_path, monkeypatch, f"out.write({said!r} + open({str(tmp_path / 'sent')!r}, 'rb').read() + {said!r})")
    with pytest.raises(UserError, match=r"cannot be read.*offset"):
        list(Reader("arrow", **SIZES).batches(arrow, ["a", "text"]))


def test_damage_after_the_first_batch_is_refused(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a": np.random.default_rng(0).normal(size=200_000)}), path, row_group_size=100_000)
    content = bytearray(path.read_bytes())
    content[len(content) - 300_000 : len(content) - 2_000] = bytes(298_000)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data\.parquet cannot be read"):
        open_data(path)


def test_one_process_reads_a_file_and_ends_with_it(tmp_path, monkeypatch):
    frame().to_parquet(tmp_path / "data.parquet")
    started = []
    start = columnar_process._start
    monkeypatch.setattr(columnar_process, "_start", lambda: started.append(start()) or started[-1])
    data = open_data(tmp_path / "data.parquet")
    assert len(data) == 20
    gc.collect()
    assert len(started) == 1
    assert started[0].poll() is not None
    assert started[0].stdout.closed


def test_reading_that_is_given_up_leaves_no_process(tmp_path, monkeypatch):
    pq.write_table(pa.table({"a": np.zeros(500_000)}), tmp_path / "data.parquet")
    started = []
    start = columnar_process._start
    monkeypatch.setattr(columnar_process, "_start", lambda: started.append(start()) or started[-1])
    reader = Reader("parquet", rows=1000, wide_rows=1000)
    batches = reader.batches(tmp_path / "data.parquet", ["a"])
    assert next(batches).num_rows == 1000
    batches.close()
    assert started[0].poll() is not None
    assert sum(batch.num_rows for batch in reader.batches(tmp_path / "data.parquet", ["a"])) == 500_000


def test_the_process_ends_when_nobody_asks_any_more():
    process = columnar_process._start()
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    process.stdout.close()


def test_it_needs_pyarrow_alone(tmp_path):
    """So that it starts in a tenth of a second."""
    program = (
        "import runpy, sys; sys.stdin = iter(()); runpy.run_path(sys.argv[1], run_name='__main__'); "
        "print(sorted({'torch', 'pandas', 'salience', 'lightning'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", program, str(columnar_process.WORKER)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=True,
    )
    assert run.stdout.strip() == "[]"


def test_memory_is_limited(tmp_path, monkeypatch):
    """A page that promises more than there is must not take the machine's memory."""
    pytest.importorskip("resource")
    pq.write_table(pa.table({"a": np.zeros(20_000_000)}), tmp_path / "data.parquet")
    monkeypatch.setattr(columnar_process, "_memory", lambda: 100 << 20)
    with pytest.raises(UserError, match=r"data\.parquet cannot be read.*(alloc|memory|SIG)"):
        list(Reader("parquet", rows=20_000_000, wide_rows=1).batches(tmp_path / "data.parquet", ["a"]))


@pytest.mark.parametrize("form", ["parquet", "feather"])
def test_every_value_comes_back_as_it_was(tmp_path, form):
    path = tmp_path / f"data.{form}"
    table = frame(2000)
    getattr(table, f"to_{form}")(path)
    reader = Reader("parquet" if form == "parquet" else "arrow", rows=300, wide_rows=7)
    batches = list(reader.batches(path, ["text", "a"]))
    assert [batch.num_rows for batch in batches] == [300] * 6 + [200]
    read = pa.Table.from_batches(batches).to_pandas()
    pd.testing.assert_frame_equal(read, table[["text", "a"]])


def test_wide_columns_come_in_small_batches(tmp_path):
    table = pa.table({"a": list(range(20)), "image": [b"1"] * 20, "nested": [{"bytes": b"1"}] * 20})
    pq.write_table(table, tmp_path / "data.parquet")
    reader = Reader("parquet", rows=100, wide_rows=8)
    for columns, sizes in ((["a"], [20]), (["a", "image"], [8, 8, 4]), (["nested"], [8, 8, 4])):
        assert [batch.num_rows for batch in reader.batches(tmp_path / "data.parquet", columns)] == sizes


def test_whole_numbers_stay_whole_where_some_are_missing(tmp_path):
    big = 2**53
    pq.write_table(pa.table({"a": [1.0, 2, 3], "label": [big, None, big + 1]}), tmp_path / "data.parquet")
    (chunk,) = _table([tmp_path / "data.parquet"], "parquet").frames(["a", "label"])
    assert chunk["a"].dtype == np.float64
    assert [None if pd.isna(value) else int(value) for value in chunk["label"]] == [big, None, big + 1]


def test_the_index_of_a_data_frame_is_left_out_and_may_be_the_label(tmp_path):
    frame().set_index("text").to_parquet(tmp_path / "data.parquet")
    data = open_data(tmp_path / "data.parquet")
    assert [column.name for column in data.spec.columns] == ["a"]
    assert any("column 'text' is left out: it was the index" in note for note in data.notes)
    assert len(open_data(tmp_path / "data.parquet", labels="text").classes) == 5


def test_a_file_without_a_column_that_the_others_have_is_refused(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    frame().to_parquet(folder / "train-0.parquet")
    frame().drop(columns="a").to_parquet(folder / "train-1.parquet")
    with pytest.raises(UserError, match=r"train-1\.parquet cannot be read.*it has no column 'a'"):
        open_data(folder)


@pytest.mark.parametrize(
    "notes",
    [
        {b"pandas": b"{"},
        {b"pandas": b"[1]"},
        {b"pandas": b'{"index_columns": 3}'},
        {b"pandas": b"[" * 100_000},
        {b"pandas": b'{"columns": [{"name": 1}], "index_columns": [{}], "column_indexes": 5}'},
        {b"huggingface": b'{"info": {"features": {"a": [{"dtype": "float"}], "label": {"names": 3}}}}'},
        {b"huggingface": b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": "xy"}}}}'},
        {b"huggingface": b'{"info": {"features": [1]}}'},
    ],
)
def test_damaged_notes_in_a_file_are_passed_over(tmp_path, notes):
    table = pa.Table.from_pandas(frame()).replace_schema_metadata(notes)
    pq.write_table(table, tmp_path / "data.parquet")
    data = open_data(tmp_path / "data.parquet")
    assert data.classes == ("x", "y")
    assert [column.name for column in data.spec.columns] == ["a", "text"]


def test_a_path_with_any_character_is_read(tmp_path):
    path = tmp_path / "a\nb'é\udce9.parquet"
    try:
        frame().to_parquet(path)
    except (UnicodeEncodeError, OSError):
        path = tmp_path / "a\nb'é.parquet"
        frame().to_parquet(path)
    assert len(open_data(path)) == 20
