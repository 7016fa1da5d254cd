import json

import numpy as np
import pandas as pd
import pytest

from salience.data import open_data
from salience.errors import UserError
from salience.training import fit
from salience.verbs.arithmetic import Vote, arithmetic, attribute_vector, moved
from salience.verbs.feature_space import pixel_space


def planted(n=90, seed=0):
    """Three classes of images on [0, 1] that differ by a constant offset each, plus small noise."""
    generator = np.random.default_rng(seed)
    offsets = generator.uniform(0.2, 0.8, (3, 5, 5))
    labels = np.arange(n) % 3
    x = offsets[labels] + generator.normal(0, 0.01, (n, 5, 5))
    return open_data(x.astype(np.float32), labels=np.array(["a", "b", "c"])[labels], progress=False)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear code that keeps everything."""
    return fit("pca", planted(), out=tmp_path_factory.mktemp("runs") / "pca", dim=25, progress=False)


def test_the_vector_of_a_linear_code_is_the_difference_of_mean_images(linear):
    data = planted()
    vector = attribute_vector(linear, data, 0, 1)
    means = [data.x[data.labels == label].mean(0) for label in (0, 1)]
    step = linear.decode(vector[None]) - linear.decode(0 * vector[None])
    np.testing.assert_allclose(step[0], means[0] - means[1], atol=1e-5)


def test_an_item_moved_by_half_the_vector_is_half_way(linear):
    data = planted()
    vector = attribute_vector(linear, data, 0, 1)
    made = moved(linear, data, np.array([1, 4]), vector)
    x = linear.unit(data.batch(np.array([1, 4])))
    np.testing.assert_allclose(made[0.0], x, atol=1e-5)
    step = linear.decode(vector[None]) - linear.decode(0 * vector[None])
    np.testing.assert_allclose(made[0.5], (x.numpy() + 0.5 * step).clip(0, 1), atol=1e-5)


def test_all_change_their_class_where_classes_differ_by_an_offset(linear, tmp_path):
    found = arithmetic(linear, planted(), tmp_path / "out", add="a", subtract="b", progress=False)
    shares = {strength: (one["add"].value, one["subtract"].value) for strength, one in found.figures.items()}
    assert shares["strength 0"] == (0, 1)
    assert shares["strength 1"] == (1, 0)
    table = pd.read_csv(tmp_path / "out" / "items.csv")
    assert set(table["strength 0"]) == {"b"}
    assert set(table["strength 1"]) == {"a"}
    assert len(table) == 15  # half of the class; the others are neighbours
    assert json.loads((tmp_path / "out" / "arithmetic.json").read_text())["strength 1"]["add"]["value"] == 1
    assert np.load(tmp_path / "out" / "vector.npy").shape == (25,)
    assert "right for 100.0%" in found.text()


def test_a_class_of_its_own_may_be_changed_and_one_item_alone(linear):
    found = arithmetic(linear, planted(), add="a", subtract="b", to="c", progress=False)
    assert found.figures["strength 0"]["subtract"].value == 0
    assert len(arithmetic(linear, planted(), add="a", subtract="b", item="4", progress=False).table) == 1


def test_the_vote_does_not_count_what_was_changed(linear):
    data = planted()
    changed = np.flatnonzero(data.labels == 1)[1:]
    vote = Vote(linear, data, pixel_space(), changed)
    assert not np.isin(np.flatnonzero(vote.labels == 1), changed).any()
    assert (vote.labels == 1).sum() == 1


def test_the_class_of_a_result_is_told_by_the_features_of_a_run_where_one_is_given(linear, tmp_path):
    data, generator = planted(), np.random.default_rng(1)
    means = np.stack([data.x[data.labels == label].mean(0).ravel() for label in range(3)])
    blind = np.linalg.svd(means - means.mean(0))[2][-1].reshape(5, 5)  # along it the classes are alike
    images = (0.5 + generator.normal(0, 0.1, (60, 1, 1)) * blind).astype(np.float32)
    features = fit("pca", images, out=tmp_path / "blind", dim=1, progress=False)
    found = arithmetic(linear, data, add="a", subtract="b", features=features, progress=False)
    assert found.about["judge"] == f"the embedding of pca in {features.run}"
    assert "right for 100.0%" not in found.text()
    assert 0 < found.figures["strength 1"]["add"].value < 1
    assert arithmetic(linear, data, add="a", subtract="b", progress=False).about["judge"] == "the pixels"


def test_a_learnt_code_turns_digits_into_others(autoencoder, digits, tmp_path):
    found = arithmetic(autoencoder, digits, tmp_path / "out", add="0", subtract="1", progress=False)
    assert found.figures["strength 0"]["add"].value < 0.1
    assert found.figures["strength 1.5"]["add"].value > 0.8
    assert (tmp_path / "out" / "picture.png").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"add": "z", "subtract": "b"}, "add: .* has no class 'z'; its classes are: a, b, c"),
        ({"add": "a", "subtract": "z"}, "subtract: .* has no class 'z'"),
        ({"add": "a", "subtract": "a"}, "subtract: 'a' is the class that is added"),
        ({"add": "a", "subtract": "b", "to": "z"}, "to: .* has no class 'z'"),
        ({"add": "a", "subtract": "b", "item": "900"}, "item: .* has no item '900'"),
        ({"add": "a", "subtract": "b", "item": "3", "to": "c"}, "to, item: both were given"),
    ],
)
def test_mistakes_name_the_argument(linear, options, complaint):
    with pytest.raises(UserError, match=complaint):
        arithmetic(linear, planted(), progress=False, **options)


def test_without_labels_there_is_nothing_to_add(linear):
    with pytest.raises(UserError, match=r"source: arithmetic requires labels, but .* has none"):
        arithmetic(linear, open_data(planted().x, progress=False), add="a", subtract="b", progress=False)


def test_the_class_of_a_result_is_that_of_most_of_its_five_nearest(linear):
    """Of two nearest of one class and three next of another, the three count."""
    x = np.zeros((12, 5, 5), np.float32)
    x[:, 0, 0] = [0.50, 0.51, 0.52, 0.53, 0.54, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96]
    data = open_data(x, labels=np.array(["a", "a", *"bbb", *"ccccccc"]), spec=linear.spec, progress=False)
    vote = Vote(linear, data, pixel_space(), np.array([11]))
    assert vote(linear.unit(data.batch(np.array([0]))) - 0.01).tolist() == [1]


def test_an_item_does_not_vote_for_itself_where_votes_are_rated(linear):
    """Labels by chance: with an item's own label among five the vote would be right far more often than by chance."""
    generator = np.random.default_rng(0)
    labels = np.array(["a", "b"])[generator.integers(0, 2, 400)]
    data = open_data(generator.random((400, 5, 5)).astype(np.float32), labels=labels, spec=linear.spec, progress=False)
    (said,) = Vote(linear, data, pixel_space(), np.array([], int)).reliability(0, 1)
    right = float(said.rpartition("right for ")[2].rstrip("%")) / 100
    assert abs(right - 0.5) < 4 * 0.5 / np.sqrt(400)


def test_the_seed_draws_the_items_that_are_changed(linear):
    names = [
        arithmetic(linear, planted(), add="a", subtract="b", seed=seed, progress=False).table["item"].tolist()
        for seed in (0, 0, 1)
    ]
    assert names[0] == names[1]
    assert sorted(names[0]) != sorted(names[2])
    assert {int(name) % 3 for name in names[0] + names[2]} == {1}
