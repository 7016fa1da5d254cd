from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from salience.data import Dataset
from salience.evaluation import baselines
from salience.measures.raw_features import raw_features
from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec

from .conftest import blobs


def test_raw_images_are_pixels_on_the_unit_scale():
    data = blobs(5)
    np.testing.assert_allclose(raw_features(data), data.stored.reshape(5, 16) / 255, atol=1e-6)


def test_large_images_are_averaged_down():
    spec = ImageSpec((1, 64, 64), "uint8", 0.0, 255.0)
    x = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64)).astype(np.uint8)
    found = raw_features(Dataset("large", "train", spec, x, None, (), list("abc"), "f"))
    expected = x.reshape(3, 32, 2, 32, 2).mean((2, 4)).reshape(3, -1) / 255
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_raw_tables_are_imputed_and_standardised():
    columns = (Column("size", mean=2.0, std=4.0), Column("kind", "category", ("a", "b")))
    spec = TableSpec((2,), "float32", columns=columns)
    x = np.array([[6, 0], [np.nan, 1], [2, np.nan]], np.float32)
    found = raw_features(Dataset("table", "train", spec, x, None, (), list("abc"), "f"))
    np.testing.assert_allclose(found, [[1, 1, 0], [0, 0, 1], [0, 0, 0]])


def test_principal_components_are_scikit_learns_of_the_training_rows():
    train, test = np.random.default_rng(0).normal(size=(2, 50, 6)).astype(np.float32)
    expected = PCA(3).fit(train).transform(test)
    np.testing.assert_allclose(baselines.principal_components(train, 3)(test), expected, atol=1e-4)
    assert baselines.principal_components(train, 99)(test).shape == (50, 6)


def test_principal_components_of_rows_that_are_all_the_same_are_silent(recwarn):
    project = baselines.principal_components(np.ones((20, 3)), 2)
    np.testing.assert_allclose(project(np.ones((4, 3))), 0, atol=1e-12)
    assert not recwarn.list


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("uint16", 0, 65535), ("float32", -1, 3)])
def test_two_views_are_stored_as_the_data_is(dtype, low, high):
    data = blobs(40)
    stored = (data.stored / 255 * (high - low) + low).astype(dtype)
    data = replace(data, stored=stored, spec=replace(data.spec, dtype=dtype, low=float(low), high=float(high)))
    same, again = baselines.two_views(data, "identity")
    assert same.stored.dtype == stored.dtype
    np.testing.assert_allclose(same.stored, stored, atol=1 if dtype == "uint16" else 1e-5)
    np.testing.assert_array_equal(same.stored, again.stored)
    first, second = baselines.two_views(data, None)
    assert (first.stored != second.stored).mean() > 0.5
    assert first.stored.min() >= low - (dtype == "float32")


def test_tables_have_no_views_to_measure_with():
    spec = TableSpec((1,), "float32", columns=(Column("size"),))
    assert baselines.two_views(Dataset("t", "train", spec, np.zeros((3, 1)), None, (), list("abc"), "f"), None) is None
