import io
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

from salience.data import open_data
from salience.errors import UserError
from salience.reading import Reading

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy, lambda x: x.tolist()])
def test_images_from_arrays_tensors_and_lists(make):
    x = RNG.integers(0, 256, (6, 9, 9)).astype(np.uint8)
    data = open_data(make(x))
    np.testing.assert_array_equal(data.x[:, 0], x)
    assert data.spec.shape == (1, 9, 9)
    assert data.spec.dtype == "uint8"
    assert list(data.ids) == [str(i) for i in range(6)]
    assert data.split == "train"


def test_an_array_that_fits_is_not_copied():
    for x in (np.zeros((4, 3, 8, 8), np.uint8), np.ones((4, 8, 8, 3), np.float32), RNG.normal(size=(5, 3))):
        assert np.shares_memory(open_data(x).stored, x)


def test_a_tensor_with_gradient_and_half_precision_opens():
    x = torch.rand(4, 1, 6, 6, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(open_data(x).x, x.detach().float().numpy())


@pytest.mark.parametrize(("dtype", "stored"), [(np.float32, "float32"), (np.float64, "float64"), (np.int64, "float64")])
def test_a_table_keeps_its_precision(dtype, stored):
    x = (RNG.normal(size=(30, 4)) * 10).astype(dtype)
    data = open_data(x)
    np.testing.assert_array_equal(data.x, x)
    assert data.spec.dtype == stored
    assert data.spec.modality == "table"
    np.testing.assert_allclose([column.mean for column in data.spec.columns], x.mean(0), rtol=1e-5)
    np.testing.assert_allclose([column.std for column in data.spec.columns], x.std(0), rtol=1e-5)


def test_resolution_is_obeyed():
    data = open_data(np.full((3, 20, 20), 7, np.uint8), resolution=8)
    assert data.x.shape == (3, 1, 8, 8)
    assert (data.x == 7).all()
    assert data.notes == ("resized to 8x8: all are 20x20",)


@pytest.mark.parametrize("resolution", [0, -3, 1.5, 100_000])
def test_a_wrong_resolution_is_refused(resolution):
    with pytest.raises(UserError, match=f"resolution: {resolution}"):
        open_data(np.zeros((3, 20, 20)), resolution=resolution)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_place(value):
    table, images = np.zeros((9, 3)), np.zeros((9, 4, 4), np.float32)
    table[5, 2] = images[7, 1, 3] = value
    with pytest.raises(UserError, match=f"{value} at row 5, column 2"):
        open_data(table)
    with pytest.raises(UserError, match=r"row 7, position \(0, 1, 3\)"):
        open_data(images)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((2, 3, 4, 5, 6)), "shape"),
        (np.zeros((0, 8, 8)), "no items"),
        (np.zeros((4, 0)), "no items"),
        (np.array(["a", "b"]), "not numbers"),
        (np.zeros((3, 2), complex), "complex128, not numbers"),
        (np.array([[object()]]), "not numbers"),
        ([[1, 2], [3]], "makes no array"),
        (object(), "object is of no kind we read"),
        (3, "int is of no kind"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_data_is_refused(source, message):
    with pytest.raises(UserError, match=message):
        open_data(source)


def test_a_sparse_matrix_is_refused_with_the_remedy():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(UserError, match="toarray"):
        open_data(sparse.eye(5).tocsr())


def test_labels_and_groups_must_be_one_for_each():
    with pytest.raises(UserError, match="labels: 2 values for 3 items"):
        open_data(np.zeros((3, 4)), labels=[1, 2])
    with pytest.raises(UserError, match="groups: 1 value for 3 items"):
        open_data(np.zeros((3, 4)), groups=[1])
    with pytest.raises(UserError, match="labels: an array has no column 'kind'"):
        open_data(np.zeros((3, 4)), labels="kind")


def test_an_array_has_no_other_split():
    with pytest.raises(UserError, match="no split 'test'; it has: train"):
        open_data(np.zeros((3, 4)), split="test")


def test_npy_is_mapped_where_it_lies(tmp_path):
    x = RNG.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(20) % 3)
    first = open_data(tmp_path / "x.npy", labels=str(tmp_path / "y.npy"))
    again = open_data(tmp_path / "x.npy", labels=str(tmp_path / "y.npy"))
    for data in (first, again):
        np.testing.assert_array_equal(data.x, x.transpose(0, 3, 1, 2))
        assert isinstance(data.stored, np.memmap)
        assert data.labels.tolist() == (np.arange(20) % 3).tolist()
    assert first.spec == again.spec
    assert first.fingerprint == again.fingerprint == open_data(x).fingerprint
    assert not list(tmp_path.glob("cache/prepared/*/x.bin"))


def test_npy_that_must_change_is_prepared(tmp_path):
    np.save(tmp_path / "x.npy", np.full((20, 8, 8), 200, np.int64))
    data = open_data(tmp_path / "x.npy")
    assert data.spec.dtype == "uint8"
    assert len(list(tmp_path.glob("cache/prepared/*/x.bin"))) == 1


def test_a_table_of_the_other_byte_order_opens():
    x = RNG.normal(size=(5, 3)).astype(">f4")
    data = open_data(x)
    np.testing.assert_array_equal(data.x, x)
    assert data.batch(np.arange(5)).x.numpy().dtype == np.float32


def test_a_file_overwritten_with_as_many_bytes_is_noticed(tmp_path):
    path = tmp_path / "x.npy"
    for value in (1.0, 2.0):
        np.save(path, np.full((20, 3), value))
        assert open_data(path).spec.columns[0].mean == value


def test_a_changed_npy_is_looked_at_again(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((20, 3)))
    before = open_data(path)
    np.save(path, np.ones((21, 3)))
    after = open_data(path)
    assert (len(before), len(after)) == (20, 21)
    assert after.spec.columns[0].mean == 1
    assert len(list(tmp_path.glob("cache/prepared/*"))) == 1


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (("x_train", "y_train", "x_test", "y_test"), "test"),
        (("train_images", "train_labels", "test_images", "test_labels"), "test"),
    ],
)
def test_npz_has_splits(tmp_path, names, split):
    parts = [RNG.integers(0, 9, (n, 5, 5)).astype(np.uint8) for n in (6, 4)]
    values = [parts[0], np.arange(6)[:, None] % 2, parts[1], np.array([1, 0, 1, 1])[:, None]]
    np.savez(tmp_path / "data.npz", **dict(zip(names, values, strict=True)))
    train, test = open_data(tmp_path / "data.npz"), open_data(f"{tmp_path}/data.npz:test")
    np.testing.assert_array_equal(train.x[:, 0], parts[0])
    np.testing.assert_array_equal(test.x[:, 0], parts[1])
    assert test.labels.tolist() == [1, 0, 1, 1]
    assert test.split == "test"
    with pytest.raises(UserError, match="no split 'val'; it has: train, test"):
        open_data(f"{tmp_path}/data.npz:val")


def test_npz_with_one_set(tmp_path):
    np.savez_compressed(tmp_path / "umap.npz", x=RNG.normal(size=(7, 3)).astype(np.float32), y=np.arange(7) % 2)
    data = open_data(tmp_path / "umap.npz")
    assert data.spec.shape == (3,)
    assert data.labels.tolist() == [0, 1] * 3 + [0]
    np.savez(tmp_path / "odd.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"no array named x.*it has: a, b"):
        open_data(tmp_path / "odd.npz")


class Hostile:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from the data was run')",))


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"cannot be read as \.npy"):
        open_data(tmp_path / "x.npy")
    buffer = io.BytesIO()
    np.save(buffer, np.array([Hostile()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
    with pytest.raises(UserError, match="cannot be read"):
        open_data(tmp_path / "x.npz")
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError, match=r"cannot be read as \.npy"):
        open_data(tmp_path / "raw.npy")


@pytest.mark.parametrize("argument", ["labels", "groups"])
def test_pickled_and_damaged_labels_are_refused(tmp_path, argument):
    path = tmp_path / "y.npy"
    np.save(path, np.array([Hostile()], dtype=object), allow_pickle=True)
    pickled = path.read_bytes()
    np.savez(tmp_path / "several.npz", a=np.zeros(3), b=np.zeros(3))
    for content in (pickled, b"", b"no array", pickled[:40], (tmp_path / "several.npz").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{argument}: .*y\.npy cannot be read as \.npy"):
            open_data(np.zeros((3, 4)), **{argument: path})


@pytest.mark.parametrize("name", ["cut.npy", "cut.npz"])
def test_a_truncated_file_is_refused(tmp_path, name):
    whole = tmp_path / name.replace("cut", "whole")
    (np.save if name.endswith("npy") else np.savez)(whole, np.zeros((50, 8, 8)))
    (tmp_path / name).write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        open_data(tmp_path / name)


def test_an_opened_dataset_is_not_opened_again():
    with pytest.raises(UserError, match="opened Dataset already"):
        open_data(open_data(np.zeros((3, 4))))


def test_a_series_is_refused_with_the_remedy():
    with pytest.raises(UserError, match="Series is not read; give a DataFrame"):
        open_data(pd.Series([1, 2]))


def test_minus_one_among_the_labels_of_an_array_is_a_class_and_told(tmp_path):
    x, y = np.arange(6.0).reshape(3, 2), np.array([-1, 0, 1])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    for source, labels in ((x, y), (tmp_path / "a.npz", None), (tmp_path / "a.npz", y)):
        data = open_data(source, labels=labels)
        assert data.classes == ("-1", "0", "1")
        assert "the label array: -1 is a class (1 item)" in data.notes[0]
        named = open_data(source, labels=labels, reading=Reading(missing=("-1",)))
        assert (named.classes, named.labels.tolist(), named.notes) == (("0", "1"), [-1, 0, 1], ())
