import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salience.errors import UserError
from salience.verbs import export
from salience.verbs.export import embed_to
from tests.evaluation.conftest import Projection, blobs


def test_ids_labels_and_vectors_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "ROWS", 16)  # several parts, the last one short
    data = blobs(50)
    data = replace(data, labels=np.where(np.arange(50) == 7, -1, data.labels))
    path = embed_to(Projection(), data, tmp_path / "new" / "out.parquet", progress=False)
    table = pq.read_table(path)
    assert table.schema.names == ["id", "label", "vector"]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 8)
    assert json.loads(table.schema.metadata[b"salience"]) == {
        "method": "projection", "source": "blobs", "split": "train", "fingerprint": data.fingerprint
    }  # fmt: skip
    assert table["id"].to_pylist() == list(data.ids)
    expected = [None if label < 0 else data.classes[label] for label in data.labels]
    assert table["label"].to_pylist() == expected
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(vectors, Projection().embed(data), atol=1e-6)


def test_without_labels_there_is_no_such_column(tmp_path):
    path = embed_to(Projection(), blobs(labels=False), tmp_path / "out.parquet", progress=False)
    assert pq.read_table(path).schema.names == ["id", "vector"]


def test_a_file_name_that_is_no_text_does_not_stop_it(tmp_path):
    data = replace(blobs(2, 2), ids=["caf\udce9.png", "b.png"])
    path = embed_to(Projection(), data, tmp_path / "out.parquet", progress=False)
    assert pq.read_table(path)["id"].to_pylist() == ["caf\ufffd.png", "b.png"]


def test_an_existing_file_is_kept_unless_told(tmp_path):
    path = tmp_path / "out.parquet"
    path.write_bytes(b"precious")
    with pytest.raises(UserError, match="exists"):
        embed_to(Projection(), blobs(), path)
    assert path.read_bytes() == b"precious"
    embed_to(Projection(), blobs(), path, overwrite=True, progress=False)
    assert pq.read_table(path).num_rows == 120
    with pytest.raises(UserError, match="exists"):
        embed_to(Projection(), blobs(), folder(tmp_path / "folder.parquet"), overwrite=True)


def folder(path):
    path.mkdir()
    return path


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"FILE\.parquet"):
        embed_to(Projection(), blobs(), tmp_path / "out.csv")


def test_a_failure_half_way_leaves_nothing(tmp_path):
    class Breaks(Projection):
        def embed(self, data):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        embed_to(Breaks(), blobs(), tmp_path / "out.parquet", progress=False)
    assert list(tmp_path.iterdir()) == []
