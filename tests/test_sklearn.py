"""The transformer as scikit-learn's own checks, pipelines and searches meet it; and as a guest in someone's program."""

import os
import pickle
import signal
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import salience
from salience.data import open_data
from salience.errors import UserError
from salience.sklearn import RepresentationLearner
from salience.training import Interrupted

METHODS = ("pca", "kmeans", "autoencoder", "simclr")
QUICK = {"pca": None, "kmeans": None, "autoencoder": 1, "simclr": 1}  # epochs


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go during the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(3, [1, 5, 0.1, 2], (40, 4))


@pytest.fixture
def images():
    """24 colour images of 6x6, [n c h w]."""
    return np.random.default_rng(0).integers(0, 256, (24, 3, 6, 6), dtype=np.uint8)


@parametrize_with_checks([RepresentationLearner(method) for method in METHODS])
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_numbers_of_numpy_are_parameters(table):
    given = {"epochs": np.int64(2), "batch_size": np.int64(16), "random_state": np.int64(3)}
    plain = {name: int(value) for name, value in given.items()}
    codes = [
        RepresentationLearner("simclr", options={"dim": kind(8)}, learning_rate=rate, **settings).fit_transform(table)
        for kind, rate, settings in ((np.int64, np.float32(0.5), given), (int, 0.5, plain))
    ]
    np.testing.assert_array_equal(*codes)


# --- pipelines and searches


def test_search_over_a_temperature_nobody_set_before():
    x, y = load_wine(return_X_y=True)
    steps = make_pipeline(RepresentationLearner("simclr", epochs=1, random_state=0), LogisticRegression(max_iter=1000))
    grid = {"representationlearner__options__temperature": [0.1, 1.0]}
    search = GridSearchCV(steps, grid, cv=2, error_score="raise").fit(x, y)
    assert set(grid) == set(search.best_params_)
    learner = search.best_estimator_[0]
    assert learner.representation_.config.model.options["temperature"] == learner.options["temperature"]
    assert search.best_score_ > 0.8


def test_a_method_that_learns_from_labels_gets_them():
    x, y = load_wine(return_X_y=True)
    learner = RepresentationLearner("supcon", epochs=5, random_state=0)
    told, misled = (learner.fit(x, labels).transform(x) for labels in (y, np.roll(y, 30)))
    assert not np.allclose(told, misled)
    assert silhouette_score(told, y) > silhouette_score(misled, y)
    assert cross_val_score(make_pipeline(learner, LogisticRegression()), x, y, cv=3).mean() > 0.9
    assert learner.__sklearn_tags__().target_tags.required
    for bad, message in (
        (None, "y: supcon requires labels"),
        (y[:5], "y: expected one value per item, got 5 values for 178 items"),
    ):
        with pytest.raises(UserError, match=message):
            learner.fit(x, bad)


def test_every_value_of_y_is_a_class_unless_it_is_named_as_unlabelled(monkeypatch):
    seen = []

    def fit(*_, labels, reading, **__):
        seen.append(open_data(np.zeros((3, 2)), labels=labels, reading=reading))
        raise KeyboardInterrupt

    monkeypatch.setattr("salience.sklearn.fit", fit)
    for unlabelled in (None, -1):
        with pytest.raises(KeyboardInterrupt):
            RepresentationLearner("supcon", unlabelled=unlabelled).fit(np.zeros((3, 2)), [-1, 0, 1])
    assert [data.classes for data in seen] == [("-1", "0", "1"), ("0", "1")]
    assert seen[1].labels.tolist() == [-1, 0, 1]


def test_search_over_dim_and_method():
    x, y = load_wine(return_X_y=True)
    steps = make_pipeline(RepresentationLearner(options={"dim": 1}), LogisticRegression(max_iter=1000))
    grid = [
        {"representationlearner__options__dim": [1, 3, 5]},
        {"representationlearner__method": ["kmeans"], "representationlearner__options": [{"k": 3}]},
    ]
    search = GridSearchCV(steps, grid, error_score="raise").fit(x, y)
    assert [len(part) for part in search.cv_results_["params"]] == [1, 1, 1, 2]
    assert search.cv_results_["mean_test_score"][2] > search.cv_results_["mean_test_score"][0]


def test_nested_options_change_no_dictionary_that_was_given():
    given = {"dim": 3}
    learner = RepresentationLearner("simclr", options=given).set_params(options__temperature=0.2, options__dim=4)
    assert learner.options == {"dim": 4, "temperature": 0.2}
    assert given == {"dim": 3}
    assert learner.get_params()["options__temperature"] == 0.2
    assert "options__temperature" not in learner.get_params(deep=False)
    assert clone(learner).options == learner.options


def test_feature_names():
    frame = load_wine(as_frame=True).data
    learner = RepresentationLearner(options={"dim": 2}).set_output(transform="pandas")
    codes = learner.fit_transform(frame)
    assert list(codes.columns) == ["representationlearner0", "representationlearner1"]
    assert list(learner.feature_names_in_) == list(frame.columns)


# --- what it computes


def test_pca_of_a_table_is_that_of_its_standardised_columns_in_double_precision(table):
    codes = RepresentationLearner("pca").fit_transform(table)
    expected = PCA(4).fit_transform(StandardScaler().fit_transform(table))
    np.testing.assert_allclose(np.abs(codes), np.abs(expected), rtol=1e-9, atol=1e-12)


def test_kmeans_codes_are_distances_to_its_centres(table):
    learner = RepresentationLearner("kmeans", options={"k": len(table)}, random_state=0).fit(table)
    codes = learner.transform(table)
    np.testing.assert_allclose(codes.min(axis=1), 0, atol=1e-12)  # each row is a centre
    rows = StandardScaler().fit_transform(table)
    pairs = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.testing.assert_allclose(np.sort(codes, axis=1), np.sort(pairs, axis=1), atol=1e-12)


def test_it_is_salience_fit_with_that_seed(table, tmp_path):
    rep = salience.fit("simclr", table, out=tmp_path / "run", epochs=3, seed=7, progress=False)
    learner = RepresentationLearner("simclr", epochs=3, random_state=7)
    np.testing.assert_array_equal(learner.fit_transform(table), rep.embed(table))


@pytest.mark.parametrize("method", ["kmeans", "simclr"])
def test_random_state_decides(method, table):
    def codes(random_state):
        return RepresentationLearner(method, random_state=random_state, epochs=QUICK[method]).fit_transform(table)

    state = np.random.RandomState(0)
    first, second = codes(state), codes(state)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(codes(np.random.RandomState(0)), first)
    np.testing.assert_array_equal(codes(3), codes(3))
    np.random.seed(5)  # noqa: NPY002 - None means this generator
    unseeded = codes(None)
    np.random.seed(5)  # noqa: NPY002
    np.testing.assert_array_equal(codes(None), unseeded)


def test_types_follow_the_input(table, images):
    learner = RepresentationLearner().fit(table)
    assert learner.transform(table).dtype == np.float64
    assert learner.transform(table.astype(np.float32)).dtype == np.float32
    assert RepresentationLearner().fit_transform(table.astype(int)).dtype == np.float64
    assert RepresentationLearner().fit_transform(images).dtype == np.float32
    assert RepresentationLearner().fit_transform(images / 255).dtype == np.float64


# --- every argument of the constructor


ARGUMENTS = {  # a value that is not the default, for "simclr" on a table
    "method": "vicreg",
    "options": {"temperature": 0.05},
    "random_state": 5,
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 3e-2,
    "encoder": "linear",
    "views": "identity",
}


def test_no_argument_is_left_out():
    elsewhere = {"unlabelled"}  # for methods that learn from labels: tested above
    assert set(ARGUMENTS) | elsewhere == set(RepresentationLearner().get_params(deep=False))


PLAIN = {"method": "simclr", "random_state": 0, "epochs": 1}


@pytest.fixture(scope="module")
def plain():
    """One that has the defaults, fitted to the same table."""
    return RepresentationLearner(**PLAIN).fit(np.random.default_rng(0).normal(3, [1, 5, 0.1, 2], (40, 4)))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_does_what_it_does_in_fit(name, table, plain, tmp_path):
    """To the bit; another value of it changes the codes, and the run says which it was."""
    given = {**PLAIN, name: ARGUMENTS[name]}
    learner = RepresentationLearner(**given)
    codes = learner.fit_transform(table)
    arguments = {{"random_state": "seed"}.get(key, key): value for key, value in given.items() if key != "options"}
    rep = salience.fit(source=table, out=tmp_path / "run", progress=False, **arguments, **given.get("options", {}))
    np.testing.assert_array_equal(codes, rep.embed(table))
    assert not np.array_equal(codes, plain.transform(table))
    assert learner.representation_.config != plain.representation_.config


@pytest.mark.parametrize(("rows", "epochs"), [(20, 10), (60, 15)])
def test_few_rows_are_seen_for_a_quarter_of_them_and_at_least_ten_times(rows, epochs):
    x = np.random.default_rng(0).normal(size=(rows, 3))
    assert RepresentationLearner("simclr").fit(x).representation_.config.training.epochs == epochs


# --- images


@pytest.mark.parametrize("method", METHODS)
def test_images_of_every_layout_are_the_same_images(method, images):
    learner = RepresentationLearner(method, epochs=QUICK[method], random_state=0)
    codes = learner.fit_transform(images)
    np.testing.assert_array_equal(learner.fit_transform(images.transpose(0, 2, 3, 1)), codes)
    assert codes.shape == (24, learner.representation_.dim)
    assert learner.fit_transform(images[:, 0]).shape[0] == 24


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: x.transpose(0, 2, 3, 1),
        lambda x: x[:, 0],
        lambda x: x / 255,
        lambda x: x[:, 0].astype(np.int64) - 100,
        lambda x: x[:, 0] > 127,
        lambda x: x[:, 0].reshape(24, 36).astype(np.float64),
    ],
    ids=["nchw", "nhwc", "nhw", "unit", "negative", "mask", "table"],
)
def test_all_components_bring_every_item_back(make, images):
    given = make(images)
    learner = RepresentationLearner(options={"dim": 23})
    back = learner.inverse_transform(learner.fit_transform(given))
    assert back.shape == given.shape
    np.testing.assert_allclose(back, given, atol=2e-5 * np.abs(given * 1.0).max())


def test_an_oblong_image_comes_back_oblong():
    ramp = np.linspace(0, 1, 8)[:, None] * np.linspace(1, 2, 12) / 2
    oblong = (ramp * np.linspace(0.5, 1, 20)[:, None, None]).astype(np.float32)  # [20 8 12]
    learner = RepresentationLearner(options={"dim": 1})
    back = learner.inverse_transform(learner.fit_transform(oblong))
    assert back.shape == oblong.shape
    assert np.abs(back - oblong).max() < 0.05


def test_the_autoencoder_rebuilds_on_the_scale_of_its_input():
    digits = load_digits().images[:200]  # 0 .. 16
    learner = RepresentationLearner("autoencoder", random_state=0, epochs=15)
    back = learner.inverse_transform(learner.fit_transform(digits))
    assert back.shape == digits.shape
    error, spread = ((back - digits) ** 2).mean(), digits.var()
    assert error < 0.5 * spread


@pytest.mark.parametrize("scale", [1, 255, 700], ids=["unit", "bytes", "other"])
@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_a_code_does_not_depend_on_the_images_beside_it(scale, dtype):
    images = (np.random.default_rng(0).random((20, 4, 4)) * scale).astype(dtype)
    images[0], images[1] = 0, scale  # black alone would look like another scale
    learner = RepresentationLearner("pca").fit(images)
    whole = learner.transform(images)
    for row in range(3):
        np.testing.assert_array_equal(learner.transform(images[row : row + 1]), whole[row : row + 1])


def test_images_of_other_values_than_learnt_are_refused(images):
    learner = RepresentationLearner().fit(images)
    np.testing.assert_array_equal(learner.transform(images.astype(float)), learner.transform(images))
    with pytest.raises(ValueError, match="expected uint8 values as in fit"):
        learner.transform(images / 255)
    with pytest.raises(ValueError, match=r"items of shape \(3, 6, 5\), but fit saw \(3, 6, 6\)"):
        learner.transform(images[..., :5])


# --- what it refuses


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (RepresentationLearner("simclear"), "did you mean simclr"),
        (RepresentationLearner("simclr", options={"temprature": 1.0}), "did you mean temperature"),
        (RepresentationLearner("simclr", options={"devices": 2}), "devices: simclr has no such option"),
        (RepresentationLearner("simclr", options={"temperature": -1.0}), "must be > 0"),
        (RepresentationLearner("pca", options={"dim": 5}), "at most 4"),
        (RepresentationLearner("pca", options=3), "options: 3 is not a dictionary"),
        (RepresentationLearner("pca", epochs=3), "closed form"),
        (RepresentationLearner("simclr", batch_size=41), "more than the data has"),
        (RepresentationLearner("simclr", views="glyphs"), "is not a policy of table data"),
        (RepresentationLearner("simclr", random_state="seven"), "seven"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_named_in_one_line(learner, message, table):
    with pytest.raises(ValueError, match=message) as raised:
        learner.fit(table)
    assert "\n" not in str(raised.value)


def test_what_an_option_took_away_is_refused():
    digits = load_digits().images[:60]
    learner = RepresentationLearner("vae", epochs=1, options={"autoregressive": True}).fit(digits)
    with pytest.raises(ValueError, match=r"this vae cannot rebuild: its decoder is autoregressive"):
        learner.inverse_transform(learner.transform(digits[:3]))


def test_inverse_transform_is_there_where_the_method_decodes(table):
    has = [method for method in METHODS if hasattr(RepresentationLearner(method), "inverse_transform")]
    assert has == ["pca", "autoencoder"]
    assert not hasattr(RepresentationLearner("nothing"), "inverse_transform")
    with pytest.raises(ValueError, match="codes of 3 values, but fit learnt 4"):
        RepresentationLearner().fit(table).inverse_transform(np.ones((2, 3)))


# --- a guest in someone's program


def state_of_the_program():
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "here": sorted(Path().iterdir()),
    }


@pytest.mark.parametrize("method", METHODS)
def test_fit_leaves_no_trace(method, table, temporary, monkeypatch):
    monkeypatch.chdir(temporary)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        before = state_of_the_program()
        learner = RepresentationLearner(method, random_state=0).fit(table)
        learner.transform(table)
        assert state_of_the_program() == before
    finally:
        torch.set_num_threads(threads)
    assert not list(temporary.iterdir())
    assert learner.representation_.run is None


def test_tiny_nets_run_on_one_thread(table):
    learner = RepresentationLearner("simclr", epochs=1).fit(table)
    assert learner.representation_.config.training.threads == 1


def test_ctrl_c_is_an_ordinary_interrupt_and_leaves_nothing(table, temporary):
    learner = RepresentationLearner("autoencoder", epochs=100_000)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            learner.fit(table)
    finally:
        timer.cancel()
    assert not isinstance(raised.value, Interrupted)
    assert not hasattr(learner, "representation_")
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("method", METHODS)
def test_pickles_with_what_it_learnt(method, images):
    learner = RepresentationLearner(method, epochs=QUICK[method], random_state=0)
    codes = learner.fit_transform(images)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(learner)).transform(images), codes)


def test_masked_values_are_refused(table):
    masked = np.ma.masked_array(table, mask=np.zeros(table.shape, bool))
    RepresentationLearner().fit(masked)
    masked[0, 0] = np.ma.masked
    with pytest.raises(UserError, match=r"X: masked values.*filled"):
        RepresentationLearner().fit(masked)


@pytest.mark.parametrize(
    ("unlabelled", "message"),
    [
        ([-1], r"unlabelled: expected one value of y, such as -1, got '\[-1\]'; give the value alone"),
        ((), r"unlabelled: expected one value of y"),
        (7, r"unlabelled: 7 is not a value of y, which contains -1, 0, 1; leave it out, or correct it"),
        ("-2", r"unlabelled: '-2' is not a value of y"),
    ],
)
def test_what_is_no_value_of_y_is_refused_as_unlabelled(unlabelled, message):
    learner = RepresentationLearner("supcon", unlabelled=unlabelled)
    with pytest.raises(ValueError, match=message):
        learner.fit(np.zeros((3, 2)), [-1, 0, 1])


@pytest.mark.parametrize(
    ("unlabelled", "y"), [(-1.0, [-1, 0, 1]), (np.int64(-1), [-1.0, 0.0, 1.0]), (np.nan, [np.nan, 0, 1])]
)
def test_an_unlabelled_value_may_be_of_another_type(monkeypatch, unlabelled, y):
    def fit(*_, labels, reading, **__):
        assert open_data(np.zeros((3, 2)), labels=labels, reading=reading).labels.tolist() == [-1, 0, 1]
        raise KeyboardInterrupt

    monkeypatch.setattr("salience.sklearn.fit", fit)
    with pytest.raises(KeyboardInterrupt):
        RepresentationLearner("supcon", unlabelled=unlabelled).fit(np.zeros((3, 2)), y)


def test_the_documentation_says_that_images_are_stretched():
    assert "not square are stretched" in " ".join(RepresentationLearner.__doc__.split())
