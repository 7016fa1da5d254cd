"""Data of several blocks: order, statistics, fingerprints, places of bad values; and what was left out of them."""

import io
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from salience.data import open_data
from salience.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 7 rows of 40 bytes, and of 64 images."""
    monkeypatch.setattr("salience.fields.blocks.BLOCK_BYTES", 280)
    monkeypatch.setattr("salience.modalities.image.encoded.BLOCK_BYTES", 1)


def png(value, *, damaged=False):
    """A picture of 6x6; `damaged` has a sound header and is cut off."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(value).integers(0, 255, (6, 6, 3)).astype(np.uint8)).save(buffer, "PNG")
    content = buffer.getvalue()
    return content[:70] if damaged else content


def pixels(value):
    return np.random.default_rng(value).integers(0, 255, (6, 6, 3)).astype(np.uint8).transpose(2, 0, 1)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])  # used where it lies, and converted
@pytest.mark.parametrize("kept", ["memory", "file", "npz"])
def test_a_table_of_several_blocks_is_as_one_of_one(tmp_path, monkeypatch, dtype, kept):
    x = (RNG.normal(5, 3, (60, 5)) * 10 + np.arange(60)[:, None]).astype(dtype)
    whole = open_data(x)
    monkeypatch.setattr("salience.fields.blocks.BLOCK_BYTES", 280)
    source = x
    if kept == "file":
        np.save(source := tmp_path / "x.npy", x)
    elif kept == "npz":
        np.savez(source := tmp_path / "x.npz", x=x)
    data = open_data(source)
    np.testing.assert_array_equal(data.x, x)
    assert data.fingerprint == whole.fingerprint
    np.testing.assert_allclose([column.mean for column in data.spec.columns], x.mean(0))
    np.testing.assert_allclose([column.std for column in data.spec.columns], x.std(0))
    changed = x.copy()
    changed[-1, -1] += 1
    assert open_data(changed).fingerprint != whole.fingerprint


def test_images_of_several_blocks_are_as_one(small_blocks):
    x = RNG.integers(0, 255, (30, 6, 6)).astype(np.int64)
    data = open_data(x)
    np.testing.assert_array_equal(data.x[:, 0], x)
    np.testing.assert_allclose(np.array(data.spec.mean) * 255, x.mean())
    np.testing.assert_allclose(np.array(data.spec.std) * 255, x.std())


def test_the_place_of_a_bad_value_is_counted_from_the_first_row(small_blocks):
    x = np.zeros((40, 5))
    x[33, 2] = np.nan
    with pytest.raises(UserError, match="nan at row 33, column 2"):
        open_data(x)
    images = np.zeros((40, 6, 6), np.float32)
    images[31, 1, 2] = np.inf
    with pytest.raises(UserError, match="inf at row 31, position"):
        open_data(images)


@pytest.mark.parametrize(("cell", "column"), [(np.inf, "a"), ("word", "b")])
def test_the_row_of_a_bad_cell_is_counted_from_the_first_chunk(tmp_path, cell, column):
    good = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10.0)})
    spec = open_data(good).spec
    path = tmp_path / "data.arrow"
    tables = [good.astype({column: object}) for _ in range(3)]
    tables[2].loc[4, column] = cell
    kind = pa.string() if isinstance(cell, str) else pa.float64()
    schema = pa.schema([(name, kind if name == column else pa.float64()) for name in "ab"])
    with pa.ipc.new_file(str(path), schema) as writer:
        for table in tables:
            if isinstance(cell, str):
                table[column] = table[column].map(str)
            writer.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False))
    if cell == "word":  # one word among numbers is a missing value, and told
        assert any(f"column '{column}'" in note and "row 24" in note for note in open_data(path, spec=spec).notes)
        return
    with pytest.raises(UserError, match=rf"row 24.*column '{column}'|column '{column}'.*row 24"):
        open_data(path, spec=spec)


@pytest.mark.parametrize("kept", ["memory", "cache"])
def test_items_that_are_left_out_take_their_labels_groups_and_ids_with_them(tmp_path, small_blocks, kept):
    """Over several blocks, fresh and out of the cache; some are bad by their header, some by what follows."""
    bad = {3: b"no image", 70: png(70, damaged=True), 131: b"", 199: png(199, damaged=True)}
    frame = pd.DataFrame(
        {
            "image": [{"bytes": bad.get(i, png(i))} for i in range(200)],
            "label": [f"{i % 7}" for i in range(200)],
            "of": [i // 3 for i in range(200)],
        }
    )
    source = frame
    if kept == "cache":
        frame.to_parquet(source := tmp_path / "data.parquet")
    rows = [i for i in range(200) if i not in bad]
    for _ in range(2):
        data = open_data(source, groups="of", progress=False)
        assert list(data.ids) == [str(i) for i in rows]
        assert [int(item.id) for item in data.bad] == sorted(bad)
        assert [data.classes[label] for label in data.labels] == [f"{i % 7}" for i in rows]
        assert data.groups.tolist() == [i // 3 for i in rows]
        np.testing.assert_array_equal(data.x, np.stack([pixels(i) for i in rows]))
        np.testing.assert_allclose(np.array(data.spec.mean) * 255, data.x.mean((0, 2, 3)))


def test_a_disk_that_takes_a_part_of_what_is_written_gets_the_rest(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr("salience.fields.row_writer.os.write", lambda file, content: write(file, bytes(content[:37])))
    np.savez(tmp_path / "x.npz", x=(x := RNG.normal(size=(50, 3))))
    np.testing.assert_array_equal(open_data(tmp_path / "x.npz").x, x)


@pytest.mark.parametrize("rows", [(9, 5), (9, 6, 6)])
def test_another_type_than_the_run_was_trained_on_is_brought_to_it(rows):
    x = RNG.random(rows)
    spec = open_data(x.astype(np.float32)).spec
    data = open_data(x, spec=spec)
    assert data.spec == spec
    assert data.x.dtype == next(data.chunks()).x.numpy().dtype == np.float32
    np.testing.assert_array_equal(data.x.reshape(rows), x.astype(np.float32))


def test_the_statistics_of_a_run_stay_its_own(tmp_path):
    """Other data are standardised as the run's were, in memory and out of the cache."""
    for shape in ((9, 5), (9, 6, 6)):
        spec = open_data(RNG.random(shape).astype(np.float32)).spec
        other = (RNG.random(shape) * 0.5).astype(np.float32)
        np.savez(tmp_path / f"{len(shape)}.npz", x=other)
        for source in (other, tmp_path / f"{len(shape)}.npz", tmp_path / f"{len(shape)}.npz"):
            assert open_data(source, spec=spec).spec == spec
    table = pd.DataFrame({"a": [1.0, 2, 3], "b": ["x", "y", "x"]})
    spec = open_data(table).spec
    assert open_data(table.assign(a=7.0), spec=spec).spec == spec


def test_the_shape_and_type_of_items_are_part_of_the_fingerprint():
    x = np.zeros((6, 1, 6, 6), np.float32)  # all of these are stored as the same bytes
    same = [x, x.reshape(6, 4, 3, 3), x.reshape(6, 36), np.zeros((6, 1, 12, 12), np.uint8)]
    assert len({open_data(items).fingerprint for items in same}) == 4
