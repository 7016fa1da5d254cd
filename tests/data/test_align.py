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
        (COLOUR, np.zeros((3, 4)), "trained on image data, this is table data"),
        (np.zeros((3, 4)), COLOUR, "trained on table data, this is image data"),
        (np.zeros((3, 4)), np.zeros((3, 5)), "trained on 4, this has 5"),
        (np.zeros((3, 5, 16, 16)), COLOUR, "trained on 5 channels, these have 3"),
        (pd.DataFrame({"a": ["x", "y"]}), np.zeros((3, 1)), "trained on texts in column 'a'"),
        (pd.DataFrame({"a": [1.0, 2]}), pd.DataFrame({"b": [1.0]}), "trained on 'a', missing here; the source has: b"),
        (pd.DataFrame({"a": [1.0, 2]}), pd.DataFrame({"a": ["x"]}), "column 'a': numbers are expected"),
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
