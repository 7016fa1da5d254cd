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
    assert data.spec.modality.name == "table"
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
        (np.zeros((3, 2), complex), "must contain numbers, got complex128"),
        (np.array([[object()]]), "must contain numbers"),
        ([[1, 2], [3]], "cannot convert list to an array"),
        (object(), "unsupported type object"),
        (3, "unsupported type int"),
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
    with pytest.raises(UserError, match="labels: expected one value per item, got 2 values for 3 items"):
        open_data(np.zeros((3, 4)), labels=[1, 2])
    with pytest.raises(UserError, match="groups: expected one value per item, got 1 value for 3 items"):
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
    with pytest.raises(UserError, match="got an open Dataset"):
        open_data(open_data(np.zeros((3, 4))))


def test_a_series_is_refused_with_the_remedy():
    with pytest.raises(UserError, match="unsupported pandas type Series; give a DataFrame"):
        open_data(pd.Series([1, 2]))


def test_masked_cells_of_a_table_are_missing():
    x = np.array([[1.0, 2.0], [3.0, 999.0], [5.0, 8.0]])
    for dtype in (np.float32, np.float64, np.int64):
        data = open_data(np.ma.array(x.astype(dtype), mask=x == 999))
        np.testing.assert_array_equal(data.x, [[1, 2], [3, np.nan], [5, 8]])
        assert [(column.name, column.mean) for column in data.spec.columns] == [("0", 3.0), ("1", 5.0)]
        assert data.spec.dtype == ("float32" if dtype == np.float32 else "float64")
    stacked = open_data([np.ma.array(row, mask=row == 999) for row in x])
    np.testing.assert_array_equal(stacked.x, data.x)


def test_masked_cells_are_missing_to_a_run(tmp_path):
    x = RNG.normal(size=(9, 3))
    spec = open_data(x).spec
    masked = open_data(np.ma.array(x, mask=x > 1), spec=spec)
    np.testing.assert_array_equal(masked.x, np.where(x > 1, np.nan, x))


def test_masked_pixels_are_refused_with_their_place():
    x = np.ma.array(np.zeros((5, 4, 4), np.uint8), mask=np.zeros((5, 4, 4), bool))
    assert len(open_data(x)) == 5
    x[3, 1, 2] = np.ma.masked
    with pytest.raises(UserError, match=r"row 3, position \(1, 2\) is masked.*\.filled"):
        open_data(x)


@pytest.mark.parametrize(
    "values", [[10, 2, 10, 7], ["a", "b", "a", "c"], [1.0, 2.0, 1.0, 5.0], [True, False, True, True]]
)
def test_masked_labels_are_unknown(values):
    labels = np.ma.array(values, mask=[False, False, False, True])
    plain = open_data(np.zeros((3, 2)), labels=np.array(values)[:3])
    data = open_data(np.zeros((4, 2)), labels=labels, groups=labels)
    assert data.labels.tolist() == [*plain.labels.tolist(), -1]
    assert data.classes == plain.classes
    assert len(set(data.groups.tolist())) == 3


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_tensor_is_refused_with_the_remedy(layout):
    with pytest.raises(UserError, match=r"source: sparse tensors are not supported; convert it with \.to_dense"):
        open_data(getattr(torch.eye(4), layout)())


def test_tensors_of_every_kind_open_or_are_refused():
    x = torch.rand(4, 3)
    for tensor, expected in (
        (x.half(), x.half().numpy()),
        (x.to(torch.float8_e4m3fn), x.to(torch.float8_e4m3fn).float().numpy()),
        (torch.complex(x, x).conj().imag, -x.numpy()),
        ([row.requires_grad_() for row in x.clone()], x.numpy()),
    ):
        np.testing.assert_array_equal(open_data(tensor).x, expected)
    for tensor in (torch.empty(4, 3, device="meta"), torch.complex(x, x)):
        with pytest.raises(UserError, match=r"cannot convert .* to an array|must contain numbers, got complex64"):
            open_data(tensor)


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda x: x.astype(x.dtype.newbyteorder(">")),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.lib.stride_tricks.as_strided(x, x.shape, x.strides, writeable=False),
        lambda x: x.view(np.matrix),
        lambda x: x.astype(np.longdouble),
    ],
)
def test_the_layout_of_an_array_does_not_matter(change):
    x = RNG.normal(size=(6, 4))
    plain, data = open_data(x), open_data(change(x))
    np.testing.assert_array_equal(next(data.chunks()).x, x)
    assert data.fingerprint == plain.fingerprint
    assert data.spec == plain.spec


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">f4", "<f2", "<f8", "?", ">i4"])
def test_images_of_every_layout(dtype):
    x = (RNG.random((5, 6, 6)) * (2 if dtype == "?" else 100)).astype(int).astype(dtype)
    for images in (x, np.asfortranarray(x)):
        np.testing.assert_array_equal(open_data(images).x[:, 0], x.astype(float) * (255 if dtype == "?" else 1))


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [
        ("O", r"\.astype\(float\)"),
        ("M8[s]", "columns of dates"),
        ("m8[s]", "columns of durations"),
        ([("a", "f4"), ("b", "i4")], r"pandas\.DataFrame\(array\)"),
        ("c16", "as separate columns"),
        ("U3", "give a DataFrame"),
    ],
)
def test_other_types_are_refused_with_the_remedy(dtype, remedy, tmp_path):
    x = np.zeros((3, 2), dtype)
    with pytest.raises(UserError, match=f"must contain numbers, got .*; .*{remedy}"):
        open_data(x)
    if dtype != "O":
        np.save(tmp_path / "x.npy", x)
        with pytest.raises(UserError, match=f"must contain numbers, got .*; .*{remedy}"):
            open_data(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("dtype", "value"), [(np.float64, 1e300), (np.float32, 3e38), (np.longdouble, np.longdouble("1e400"))]
)
def test_pixels_beyond_what_is_computed_with_are_refused_with_their_place(dtype, value):
    x = np.zeros((5, 4, 4), dtype)
    x[3, 1, 2] = value
    with pytest.raises(UserError, match=r"at row 3, position \(0, 1, 2\), beyond 1e\+37"):
        open_data(x)


def test_numbers_beyond_the_type_they_are_stored_as_are_refused_with_their_place():
    spec = open_data(np.zeros((3, 2), np.float32)).spec
    x = np.zeros((5, 2))
    x[4, 1] = -1e39
    with pytest.raises(UserError, match=r"row 4, column 1, beyond 3\.4e\+38"):
        open_data(x, spec=spec)
    with pytest.raises(UserError, match=r"row 4, column '1' is beyond 3\.4e\+38"):
        open_data(pd.DataFrame(x), spec=spec)
    with pytest.raises(UserError, match=r"1e\+400 at row 2, column 1"):
        open_data(np.array([[0, 1]] * 2 + [[0, "1e400"]], dtype=np.longdouble))


def test_labels_that_print_alike_are_prepared_apart(tmp_path):
    np.save(tmp_path / "x.npy", RNG.normal(size=(2, 3)))
    open_path = tmp_path / "x.npy"
    assert open_data(open_path, labels=[2, 10]).classes == ("2", "10")
    assert open_data(open_path, labels=["2", "10"]).classes == ("10", "2")
    assert open_data(open_path, labels=["a\nb", "c"]).classes == ("a\nb", "c")
    for masked in (0, 1):
        labels = np.ma.array([5, 5], mask=[masked == 0, masked == 1])
        assert open_data(open_path, labels=labels).labels.tolist() == [-1 if i == masked else 0 for i in range(2)]


def damaged_npz(path, change):
    """An archive whose member x.npy has the header of `change`."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((50, 8)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", change(buffer.getvalue()))


def lying(content):
    return content.replace(b"(50, 8)", b"(50, 8" + b"0" * 12 + b")").replace(b" " * 12 + b"\n", b"\n")


def test_a_header_that_promises_more_than_follows_is_refused(tmp_path):
    damaged_npz(tmp_path / "x.npz", lying)
    with pytest.raises(UserError, match=r"array 'x' of .*declares 3,200,000,000,000,000 bytes of values, but 3,200"):
        open_data(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.zeros((50, 8)))
    (tmp_path / "x.npy").write_bytes(lying((tmp_path / "x.npy").read_bytes()))
    with pytest.raises(UserError, match="declares 3,200,000,000,000,000 bytes of values, but 3,200 follow"):
        open_data(tmp_path / "x.npy")
    with pytest.raises(UserError, match=r"labels: .*declares 3,200,000,000,000,000 bytes"):
        open_data(np.zeros((50, 3)), labels=tmp_path / "x.npy")


def test_an_array_larger_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 1000)))
    monkeypatch.setattr("salience.data.cache.os.sysconf", lambda name: 1000)
    with pytest.raises(UserError, match=r"array 'x' of .* needs 8\.0 MB of memory, .* has 1\.0 MB.*\.npy"):
        open_data(tmp_path / "x.npz")


@pytest.mark.parametrize(("field", "value"), [(6, 1), (8, 99)])
def test_encryption_and_unknown_compression_are_refused(tmp_path, field, value):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((5, 3)))
    content = bytearray(path.read_bytes())
    content[field] = content[content.index(b"PK\x01\x02") + field + 2] = value
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"array 'x' of .*x\.npz cannot be read: .*(encrypted|not supported)"):
        open_data(path)


def test_an_archive_of_20_000_members_is_refused_in_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for number in range(20_000):
            archive.writestr(f"member{number}.npy", b"")
    with pytest.raises(UserError, match=r"no array named x, images or data; it has: member0, .*, \.\.\.") as refusal:
        open_data(tmp_path / "x.npz")
    assert len(str(refusal.value)) < 600


def test_a_member_that_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x", b"no array")
    with pytest.raises(UserError, match=r"array 'x' of .* cannot be read"):
        open_data(tmp_path / "x.npz")


def test_texts_that_are_no_unicode_are_refused(tmp_path):
    np.save(tmp_path / "y.npy", np.array(["abc", "def"]))
    content = bytearray((tmp_path / "y.npy").read_bytes())
    content[-1] = 0x7F
    (tmp_path / "y.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"labels: .*invalid Unicode characters"):
        open_data(np.zeros((2, 3)), labels=tmp_path / "y.npy")


@pytest.mark.parametrize("argument", ["labels", "groups"])
@pytest.mark.parametrize("dtype", ["c8", "c16", "G", "V4", "M8", "m8", [("a", "i4")]])
def test_values_that_name_no_class_are_refused(argument, dtype):
    with pytest.raises(UserError, match=f"{argument}: expected numbers, texts or dates, got .*; convert"):
        open_data(np.zeros((4, 2)), **{argument: np.zeros(4, dtype)})


@pytest.mark.parametrize("dtype", ["f2", ">f8", "g", "?", "i1", ">u8", "S3", ">U3", "O", ">M8[s]", "m8[s]"])
def test_labels_and_groups_of_every_type(dtype):
    data = open_data(np.zeros((4, 2)), labels=(values := np.array([0, 1, 0, 1]).astype(dtype)), groups=values)
    assert data.labels.tolist() == data.groups.tolist() == [0, 1, 0, 1]


def test_minus_one_among_the_labels_of_an_array_is_a_class_and_told(tmp_path):
    x, y = np.arange(6.0).reshape(3, 2), np.array([-1, 0, 1])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    for source, labels in ((x, y), (tmp_path / "a.npz", None), (tmp_path / "a.npz", y)):
        data = open_data(source, labels=labels)
        assert data.classes == ("-1", "0", "1")
        assert "the label array: -1 is a class (1 item)" in data.notes[0]
        named = open_data(source, labels=labels, reading=Reading(missing=("-1",)))
        assert (named.classes, named.labels.tolist(), named.notes) == (("0", "1"), [-1, 0, 1], ())
