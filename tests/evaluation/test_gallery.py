import numpy as np
from sklearn.decomposition import PCA

from salience.evaluation import gallery
from salience.measures.raw_features import raw_features

from .conftest import blobs


def test_neighbours_are_the_most_similar_training_items():
    train, test = blobs(60), blobs(20, seed=1)
    found = gallery.neighbour_gallery(train, test, raw_features(train), raw_features(test))
    assert found.images.shape == (8, 9, 1, 4, 4)
    assert set(found.labels[:3, 0]) == {0, 1, 2}
    x = raw_features(train)
    for images, labels in zip(found.images, found.labels, strict=True):
        query, *shown = images.reshape(9, -1)
        nearest = np.argsort(-(x @ query) / np.linalg.norm(x, axis=1), kind="stable")[:8]
        np.testing.assert_allclose(shown, x[nearest])
        np.testing.assert_array_equal(labels[1:], train.labels[nearest])


def test_without_labels_items_are_compared_among_themselves_and_not_with_themselves():
    data = blobs(30, labels=False)
    found = gallery.neighbour_gallery(None, data, None, raw_features(data))
    assert (found.labels == -1).all()
    for row in found.images:
        assert not any(np.array_equal(row[0], other) for other in row[1:])


def test_projection_is_pca():
    x = np.random.default_rng(0).normal(size=(40, 5)) * [5, 3, 1, 1, 1]
    np.testing.assert_allclose(np.abs(gallery.project(x)), np.abs(PCA(2).fit_transform(x)), atol=1e-8)
    assert gallery.project(x[:, :1]).shape == (40, 2)


def test_training_curves_keep_numeric_columns_with_two_points(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss,once,name\n1,2.0,,a\n2,1.0,5.0,b\n")
    found = gallery.training_curves(tmp_path)
    assert set(found) == {"step", "loss"}
    np.testing.assert_array_equal(found["loss"], [2, 1])
    assert gallery.training_curves(None) == {}
    assert gallery.training_curves(tmp_path / "missing") == {}
