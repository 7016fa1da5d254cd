import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from salience.data import open_data
from salience.errors import UserError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def write_idx(path, array, kind="u1"):
    head = struct.pack(">HBB", 0, CODES[kind], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.astype(f">{kind}").tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture(params=["", ".gz"])
def mnist(tmp_path, request):
    rng = np.random.default_rng(0)
    x = {"train": rng.integers(0, 256, (8, 5, 5)), "t10k": rng.integers(0, 256, (4, 5, 5))}
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, images in x.items():
        write_idx(folder / f"{name}-images-idx3-ubyte{request.param}", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte{request.param}", np.arange(len(images)) % 2 + 3)
    return folder, x


def test_a_folder_of_idx_has_splits(mnist):
    folder, x = mnist
    for _ in range(2):
        train, test = open_data(folder), open_data(f"{folder}:test")
        np.testing.assert_array_equal(train.x[:, 0], x["train"])
        np.testing.assert_array_equal(test.x[:, 0], x["t10k"])
        assert train.classes == ("3", "4")
        assert test.labels.tolist() == [0, 1, 0, 1]
        assert (train.split, test.split) == ("train", "test")


def test_a_single_file_finds_the_labels_beside_it(mnist):
    folder, x = mnist
    path = next(folder.glob("t10k-images*"))
    data = open_data(path)
    np.testing.assert_array_equal(data.x[:, 0], x["t10k"])
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert data.split == "test"


def test_labels_given_replace_those_beside(mnist):
    folder, _ = mnist
    assert open_data(folder, labels=["b", "a"] * 4).labels.tolist() == [1, 0] * 4
    assert open_data(folder, labels=["a", "b"] * 4).labels.tolist() == [0, 1] * 4


def test_uncompressed_bytes_are_mapped_where_they_lie(tmp_path):
    write_idx(tmp_path / "a.idx", np.arange(200).reshape(2, 10, 10))
    data = open_data(tmp_path / "a.idx")
    assert isinstance(data.stored, np.memmap)
    assert not list(tmp_path.glob("cache/prepared/*/x.bin"))


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "f4", "f8"])
def test_every_type_is_read(tmp_path, kind):
    x = np.arange(75).reshape(3, 5, 5)
    write_idx(tmp_path / "a.idx", x, kind)
    np.testing.assert_array_equal(
        open_data(tmp_path / "a.idx", resolution=5).x[:, 0, 0], open_data(x, resolution=5).x[:, 0, 0]
    )


def test_a_file_cut_short_is_refused(tmp_path, mnist):
    folder, _ = mnist
    for path in folder.glob("train-images*"):
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"cannot be read as IDX|truncated"):
        open_data(folder)


def test_labels_must_be_one_for_each(mnist):
    folder, _ = mnist
    path = next(folder.glob("train-labels*"))
    write_idx(path, np.arange(3))
    with pytest.raises(UserError, match=r"3 labels in .* for 8 items"):
        open_data(folder)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("kind", "shape"), [("u1", (2**31, 6, 6)), ("f8", (2**32 - 1, 2**32 - 1, 2**32 - 1))])
def test_lengths_that_are_not_there_are_refused(tmp_path, suffix, kind, shape):
    path = tmp_path / f"a-images.idx{suffix}"
    content = struct.pack(">HBB3I", 0, CODES[kind], 3, *shape) + bytes(1000)
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(UserError, match=r"its header declares \[.*1,000 bytes follow|needs .* of memory"):
        open_data(path)


def test_memory_grows_with_what_follows_not_with_what_is_promised(tmp_path):
    path = tmp_path / "a.idx.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2**31, 1, 1) + bytes(1000)))
    tracemalloc.start()
    with pytest.raises(UserError, match="1,000 bytes follow"):
        open_data(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_gzip_bomb_is_read_no_further_than_promised(tmp_path):
    path = tmp_path / "a.idx.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2, 3, 3) + bytes(200 << 20)))
    tracemalloc.start()
    with pytest.raises(
        UserError, match=r"a\.idx\.gz is damaged: its header declares \[2, 3, 3\], 18 bytes, but more follow"
    ):
        open_data(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize(
    "content", [struct.pack(">HBB", 0, 8, 0), struct.pack(">HBB9I", 0, 8, 9, *[1] * 9) + b"1", b"\0\0"]
)
def test_labels_beside_that_are_no_idx_are_refused(mnist, content):
    folder, _ = mnist
    path = next(folder.glob("train-labels*"))
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    with pytest.raises(UserError, match=r"not an IDX file|cannot be read as IDX"):
        open_data(folder)


def test_a_truncated_or_damaged_gzip_is_refused(tmp_path):
    path = tmp_path / "a.idx.gz"
    whole = gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 50, 9, 9) + np.random.default_rng(0).bytes(4050))
    for content in (whole[:-100], whole[:2000] + b"xxxx" + whole[2004:], whole[:-6] + b"xxxxxx"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.idx\.gz"):
            open_data(path)
