"""Opening data the way a run expects them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from salience.data import open_data
from salience.errors import UserError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 3, 8, 8)).astype(np.uint8)


def test_the_same_data_stay_the_same():
    data = open_data(COLOUR)
    again = open_data(COLOUR, spec=data.spec)
    assert again.spec == data.spec
    assert np.shares_memory(again.stored, COLOUR)
    assert again.fingerprint == data.fingerprint


def test_images_take_the_channels_resolution_type_and_statistics_of_the_run():
    run = open_data((COLOUR / 255).astype(np.float32)).spec
    grey = np.full((2, 20, 20), 51, np.uint8)
    grey[0, 0, 0] = 255
    data = open_data(grey, spec=run)
    assert data.spec == run
    assert data.x.shape == (2, 3, 8, 8)
    assert data.x.dtype == np.float32
    np.testing.assert_allclose(data.x[1], 0.2, rtol=1e-5)


def test_a_folder_takes_them_too(pictures):
    run = open_data(np.zeros((2, 16, 16), np.uint16)).spec
    data = open_data(pictures, spec=run)
    assert data.x.shape == (6, 1, 16, 16)
    np.testing.assert_array_equal(data.x[:, 0, 3, 3], np.arange(6) * 40 * 257)
    assert data.classes == ("ant", "bee")


def test_sixteen_bit_files_for_a_run_on_eight_bits(tmp_path):
    (tmp_path / "x").mkdir()
    values = RNG.integers(0, 65536, (8, 8)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x" / "a.png")
    found = open_data(tmp_path / "x", spec=open_data(COLOUR[:, :1]).spec)
    assert np.abs(found.x[0, 0] - values / 257.0).max() <= 1


def test_dim_digits_for_a_run_on_dim_digits_are_not_stretched():
    run = open_data(np.arange(17, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)).spec
    assert run.high == 16
    x = np.full((2, 4, 4), 15, np.uint8)
    np.testing.assert_array_equal(open_data(x, spec=run).x[:, 0], x)


@pytest.mark.parametrize(
    ("run", "source", "message"),
    [
        (COLOUR, np.zeros((3, 4)), "trained on image data, got table data"),
        (np.zeros((3, 4)), COLOUR, "trained on table data, got image data"),
        (np.zeros((3, 4)), np.zeros((3, 5)), "trained on 4, got 5"),
        (np.zeros((3, 5, 16, 16)), COLOUR, "trained on 5 channels, got 3"),
        (COLOUR, np.full((2, 8, 8), 300), "trained on uint8 values, got int64 from 300 to 300; .* 0 to 255"),
        (COLOUR, np.full((2, 8, 8), -1), "trained on uint8 values, got int64 from -1 to -1"),
        (COLOUR, np.full((2, 8, 8), 9.0), "got float64 from 9 to 9; rescale them to 0 to 1, or give uint8"),
        (COLOUR / 255, COLOUR * 1.0, "trained on values from 0 to 1, .* rescale them to 0 to 1"),
        (COLOUR / 255, COLOUR.astype(int), "trained on values from 0 to 1, got int64 from"),
        (pd.DataFrame({"a": ["x", "y"]}), np.zeros((3, 1)), "trained on texts in column 'a'"),
        (
            pd.DataFrame({"a": [1.0, 2]}),
            pd.DataFrame({"b": [1.0]}),
            "trained on 'a', which the source lacks; its columns are: b",
        ),
        (pd.DataFrame({"a": [1.0, 2]}), pd.DataFrame({"a": ["x"]}), "column 'a': expected numbers"),
    ],
)
def test_what_cannot_fit_is_refused(run, source, message):
    with pytest.raises(UserError, match=f"mismatched.*{message}"):
        open_data(source, spec=open_data(run).spec)


def test_a_folder_for_a_run_on_many_channels_is_refused(pictures):
    with pytest.raises(UserError, match="trained on 5 channels"):
        open_data(pictures, spec=open_data(np.zeros((3, 5, 16, 16))).spec)


def test_columns_are_matched_by_name_and_categories_by_the_run():
    run = open_data(pd.DataFrame({"size": [1.0, 3.0], "kind": ["b", "c"]})).spec
    other = pd.DataFrame({"more": [9, 9, 9], "kind": ["c", "a", "b"], "size": [5, None, 7]})
    data = open_data(other, spec=run)
    assert data.spec == run
    np.testing.assert_array_equal(data.x, [[5, 1], [np.nan, np.nan], [7, 0]])


def test_a_table_takes_the_precision_of_the_run():
    run = open_data(RNG.normal(size=(4, 3)).astype(np.float32)).spec
    data = open_data(RNG.normal(size=(5, 3)), spec=run)
    assert data.x.dtype == np.float32
    assert data.spec.columns == run.columns


FLOATS = (COLOUR * np.linspace(0.002, 1, 6)[:, None, None, None]).astype(np.float32)  # the first is next to black


@pytest.mark.parametrize("run", [FLOATS, COLOUR, FLOATS / 255, COLOUR.astype(np.uint16) * 257])
@pytest.mark.parametrize(
    "images",
    [
        FLOATS,
        FLOATS / 255,
        FLOATS.astype(np.float64) / 255,
        FLOATS.astype(int),
        COLOUR // 64,
        COLOUR > 90,
        COLOUR.astype(np.uint16) * 257,
    ],
)
def test_an_image_is_stored_the_same_whatever_lies_beside_it(run, images):
    spec = open_data(run).spec
    try:
        together = open_data(images, spec=spec).x
    except UserError:
        return  # of values that no run like this can hold
    np.testing.assert_array_equal(open_data(images[:1], spec=spec).x, together[:1])


def test_one_bright_pixel_does_not_darken_another_image():
    run = open_data(COLOUR).spec
    images = COLOUR.astype(np.int64)
    np.testing.assert_array_equal(open_data(images, spec=run).x, COLOUR)
    images[5, 0, 0, 0] = 300
    with pytest.raises(UserError, match=r"got int64 from .* to 300"):
        open_data(images, spec=run)


def test_dark_floats_for_a_run_on_floats_up_to_255_stay_dark():
    spec = open_data(FLOATS).spec
    assert spec.high == 255
    np.testing.assert_array_equal(open_data(FLOATS[:1], spec=spec).x, FLOATS[:1])


def test_a_file_is_stored_the_same_whatever_lies_beside_it(tmp_path):
    run = open_data(np.zeros((2, 8, 8), np.uint16)).spec
    (tmp_path / "x").mkdir()
    values = RNG.integers(0, 65536, (8, 8)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x" / "a.png")
    alone = open_data(tmp_path / "x", spec=run).x.copy()
    np.testing.assert_array_equal(alone[0, 0], values)
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "x" / "b.png")
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "x" / "c.png")  # transparent shows white
    found = open_data(tmp_path / "x", spec=run).x
    np.testing.assert_array_equal(found[:1], alone)
    assert found[1:, 0, 0, 0].tolist() == [25700, 65535]


@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 8, 8)])
def test_one_colour_image_alone_is_not_read_as_grey_ones(shape):
    run, x = open_data(COLOUR).spec, np.zeros(shape, np.uint8)
    with pytest.raises(UserError, match=r"may be one RGB image or .* grey images; give a single image as x\[None\]"):
        open_data(x, spec=run)
    assert len(open_data(x[None], spec=run)) == 1
    assert len(open_data(x[:, None], spec=run)) == len(x)
