"""The ridge probe against scikit-learn's, R² against its definition, and both ends of the interval by an oracle."""

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_score

import salience
from salience.cli import main
from salience.errors import UserError
from salience.evaluation import evaluate
from salience.evaluation import regression as probes
from salience.evaluation.compare import compare
from salience.evaluation.regression import PENALTIES, fit_ridge, make_folds, r2_gain, r2_metric, redrawn, strata
from salience.evaluation.row_choice import choose_rows, values_of

from .conftest import Projection, blobs
from .test_evaluate import make_run


def problem(n=120, d=20, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d)) * np.linspace(0.5, 3, d) + 7
    return x, x @ generator.normal(size=d) + noise * generator.normal(size=n) + 100


def scalings(x):
    """The features centred, as they are at unit mean variance, and standardised."""
    centred = x - x.mean(0)
    return centred / np.sqrt(x.var(0).mean()), centred / x.std(0)


def cross_validated(z, y, penalty, folds):
    """Mean squared error of ridge regression, by scikit-learn, mean over folds."""
    ridge = Ridge(penalty * len(y))
    return -cross_val_score(ridge, z, y, cv=folds, scoring="neg_mean_squared_error").mean()


@pytest.mark.parametrize("noise", [0.1, 30.0])
def test_scaling_and_penalty_are_those_of_least_cross_validated_error(noise):
    x, y = problem(noise=noise)
    folds = list(KFold(5, shuffle=True, random_state=0).split(x))
    error = {
        (standardised, penalty): cross_validated(z, y, penalty, folds)
        for standardised, z in enumerate(scalings(x))
        for penalty in PENALTIES
    }
    best = min(error, key=error.get)
    found = fit_ridge(x, y)
    assert (found.standardised, found.penalty) == (best[0], pytest.approx(best[1]))
    assert found.score == pytest.approx(1 - error[best] / y.var(), abs=1e-6)


def test_a_noisy_target_gets_a_stronger_penalty():
    (x, clear), (_, noisy) = problem(noise=0.1), problem(noise=30.0)
    assert fit_ridge(x, noisy).penalty > 100 * fit_ridge(x, clear).penalty


def test_it_is_fitted_to_all_rows_at_the_chosen_penalty(monkeypatch):
    x, y = problem(200)
    monkeypatch.setattr(probes, "SAMPLE", 60)  # rows that choose
    found = fit_ridge(x, y)
    z, new = scalings(x)[found.standardised], problem(10, seed=5)[0]
    scale = x.std(0) if found.standardised else np.sqrt(x.var(0).mean())
    expected = Ridge(found.penalty * 200).fit(z, y).predict((new - x.mean(0)) / scale)
    np.testing.assert_allclose(found.predict(new), expected, rtol=1e-6)


def test_groups_are_never_on_both_sides_when_the_penalty_is_chosen():
    groups = np.repeat(np.arange(12), 10)
    folds = make_folds(np.arange(120.0), groups)
    assert len(folds) == 5
    for fitting, judging in folds:
        assert not set(groups[fitting]) & set(groups[judging])
    np.testing.assert_array_equal(np.sort(np.concatenate([judging for _, judging in folds])), np.arange(120))
    x, y = problem(noise=30.0)
    folds = list(GroupKFold(5, shuffle=True, random_state=0).split(x, groups=groups))
    found = fit_ridge(x, y, groups)
    error = cross_validated(scalings(x)[found.standardised], y, found.penalty, folds)
    assert found.score == pytest.approx(1 - error / y.var(), abs=1e-6)


def test_few_rows_and_features_that_say_nothing_are_no_obstacle():
    found = fit_ridge(np.ones((6, 3)), np.arange(6.0))
    np.testing.assert_allclose(found.predict(np.ones((2, 3))), 2.5)
    assert len(make_folds(np.arange(3.0), None)) == 3


def test_strata_are_tenths_of_the_values_and_keep_equal_ones_together():
    np.testing.assert_array_equal(np.bincount(strata(np.random.default_rng(0).normal(size=100))), [10] * 10)
    assert len(np.unique(strata(np.arange(23.0)))) == 4  # of five rows or more each
    assert len(np.unique(strata(np.zeros(50)))) == 1


def test_r2_is_scikit_learns_and_its_interval_a_bootstrap():
    generator = np.random.default_rng(1)
    truth = generator.normal(size=60) + 1e6
    said = truth + generator.normal(size=60)
    found = r2_metric(truth, said)
    assert found.value == pytest.approx(r2_score(truth, said), abs=1e-9)
    rows = np.random.default_rng(7).integers(0, 60, (4000, 60))
    again = np.array([r2_score(truth[some], said[some]) for some in rows])
    low, high = np.quantile(again - again.mean(), [0.025, 0.975])
    assert abs(low) > 1.3 * high  # skewed: swapped ends would be noticed
    assert found.low == pytest.approx(found.value + low, abs=0.04)
    assert found.high == pytest.approx(found.value + high, abs=0.04)
    assert len(redrawn(truth, said)[1]) == 1000


def test_an_interval_of_r2_ends_at_1():
    truth = np.arange(5.0)
    assert r2_metric(truth, truth).to_dict() == {"value": 1.0, "interval": [1.0, 1.0]}
    assert r2_metric(truth, truth + 0.1 * (truth == 4)).high <= 1


def test_the_gain_is_paired_over_test_rows():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=80)
    theirs = truth + generator.normal(size=80)
    ours = theirs - 0.05 * (theirs - truth)  # a little better on every row
    gain, alone = r2_gain(truth, ours, theirs), r2_metric(truth, theirs)
    assert gain.value == pytest.approx(r2_score(truth, ours) - r2_score(truth, theirs))
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < 0.2 * (alone.high - alone.low)
    swapped = r2_gain(truth, theirs, ours)
    assert (swapped.low, swapped.value) == pytest.approx((-gain.high, -gain.value))


@pytest.mark.slow
def test_a_skewed_gain_has_its_interval_the_right_way_round():
    """Ours is better, on one row by far: without it in a draw little is gained, so the interval is longer below."""
    truth = np.random.default_rng(0).normal(size=40)
    ours, theirs = truth.copy(), truth + 0.05
    theirs[7] += 6
    rows = np.random.default_rng(3).integers(0, 40, (20_000, 40))
    again = np.array([r2_score(truth[some], ours[some]) - r2_score(truth[some], theirs[some]) for some in rows])
    below, above = np.quantile(again - again.mean(), [0.025, 0.975])
    assert above > 1.3 * -below
    gain = r2_gain(truth, ours, theirs)
    assert gain.high - gain.value == pytest.approx(above, rel=0.15)
    assert gain.value - gain.low == pytest.approx(-below, rel=0.15)


@pytest.mark.parametrize("groups", [np.arange(20) % 2, np.arange(20) // 2, np.arange(20) % 19])
def test_folds_keep_groups_whole_however_few_or_many(groups):
    folds = make_folds(np.arange(20.0), groups)
    assert len(folds) == min(5, len(np.unique(groups)))
    for fitted, judged in folds:
        assert not set(groups[fitted]) & set(groups[judged])
        assert sorted([*fitted, *judged]) == list(range(20))


def test_of_many_rows_a_random_part_chooses_and_all_are_fitted(monkeypatch):
    """The part is drawn from all of them, and is of 5,000 rows."""
    assert probes.SAMPLE == 5_000
    monkeypatch.setattr(probes, "SAMPLE", 30)
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = x @ [1.0, -2.0, 0.5] + np.random.default_rng(1).normal(size=60)
    asked, plain = [], probes.choose_penalty
    monkeypatch.setattr(probes, "choose_penalty", lambda z, y, folds: asked.append(y) or plain(z, y, folds))
    probe = fit_ridge(x, y)
    rows = np.sort(np.random.default_rng(0).choice(60, 30, replace=False))
    for some in asked:
        np.testing.assert_array_equal(some, y[rows])
    z = (x - x.mean(0)) / probe.scale
    expected = Ridge(probe.penalty * 60).fit(z, y).predict(z)
    np.testing.assert_allclose(probe.predict(x), expected)


# --- in a report ---------------------------------------------------------------------------------------------------


def diabetes():
    """scikit-learn's: 442 patients, 10 measurements, and a measure of progression with 214 different values."""
    return load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": "progression"})


@pytest.fixture(scope="module")
def pca(tmp_path_factory):
    data = salience.open_data(diabetes(), labels="progression", progress=False)
    return salience.fit("pca", data, out=tmp_path_factory.mktemp("runs") / "pca", dim=4, progress=False)


@pytest.fixture(scope="module")
def report(pca):
    return evaluate(pca, diabetes(), labels="progression", progress=False)


def test_a_report_of_diabetes_has_r2_of_what_is_published(report):
    """Ordinary least squares on all ten columns has a cross-validated R² of 0.48."""
    assert set(report.representation) == {"regression", "geometry", "codes"}
    raw, ours = (report.columns[name]["regression"]["r2"] for name in ("raw", "representation"))
    assert raw.low < 0.48 < raw.high
    assert 0.2 < ours.value <= raw.value + 0.1
    assert any("214 distinct integers, evaluated by regression" in note for note in report.notes)
    assert any("`evaluate --target classification`" in note for note in report.notes)
    assert report.classes == ()
    assert "ridge regression R²" in report.text()


def test_it_writes_a_picture_of_predicted_against_true(report, pca):
    svg = (pca.run / "figures" / "predicted.svg").read_text()
    assert ET.fromstring(svg).tag.endswith("svg")
    assert not (pca.run / "figures" / "confusion.svg").exists()
    page = (pca.run / "report.html").read_text()
    assert "Predicted against true values" in page
    assert f"{report.about['test_rows']} rows for the evaluation, numbers to predict." in page
    truth, said = report.evidence.predicted.T
    assert report.representation["regression"]["r2"].value == pytest.approx(r2_score(truth, said))
    stored = json.loads((pca.run / "report.json").read_text())
    assert stored["about"]["target"] == "regression"
    assert set(stored["intervals"]) == set(report.representation)


def test_runs_judged_by_r2_are_compared_by_it(report, pca):
    found = compare([pca.run])
    assert "R²" in found.table().splitlines()[0]
    assert found.to_dict()["runs"][0]["R²"]["value"] == report.representation["regression"]["r2"].value


def test_classes_can_be_asked_for_of_the_same_column(pca):
    report = evaluate(pca, diabetes(), labels="progression", target="classification", progress=False, write=False)
    assert "linear" in report.representation
    assert len(report.classes) == 214


@pytest.mark.filterwarnings("default::salience.errors.Note")
def test_the_command_line_asks_for_a_target(pca, tmp_path, capsys):
    frame = diabetes().assign(progression=lambda found: found["progression"] % 5)
    frame.to_csv(tmp_path / "few.csv", index=False)
    shutil.copytree(pca.run, run := tmp_path / "run", ignore=shutil.ignore_patterns("report*"))
    argv = ["evaluate", str(run), "--on", str(tmp_path / "few.csv"), "--labels", "progression", "--json"]
    assert main(argv) == 0
    assert "linear" in json.loads(capsys.readouterr().out)["representation"]
    assert main([*argv, "--target", "regression"]) == 0
    out, err = capsys.readouterr()
    assert "regression" in json.loads(out)["representation"]
    assert "is kept as" in err  # another target is another evaluation


def quantity(n=240, seed=0, groups=None, noise=0.0):
    """Images whose mean brightness is the label, a number of 4 digits behind the point."""
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 256, (n, 1, 4, 4)).astype(np.uint8)
    values = np.round(x.mean((1, 2, 3)) + noise * generator.normal(size=n), 4)
    names, labels = np.unique(values, return_inverse=True)
    data = blobs(n, seed=seed, groups=groups)
    return replace(data, stored=x, labels=labels, classes=tuple(map(repr, names.tolist()))), values


def test_a_fifth_of_the_rows_is_held_out_evenly_over_the_values():
    data, values = quantity(200)
    rows = choose_rows(data, None)
    assert rows.target == "regression"
    assert (len(rows.train), len(rows.test)) == (160, 40)
    assert not set(rows.train.ids) & set(rows.test.ids)
    held = [int(name.removesuffix(".png")) for name in rows.test.ids]
    np.testing.assert_array_equal(np.bincount(strata(values)[held]), [4] * 10)
    np.testing.assert_array_equal(values_of(rows.test), values[held])
    assert "a fifth of the labelled rows is held out, stratified by tenths of their values, seed 0" in rows.notes


def test_groups_do_not_straddle_the_split():
    groups = np.arange(200) // 4
    rows = choose_rows(quantity(200, groups=groups)[0], None)
    assert not set(rows.train.groups) & set(rows.test.groups)
    assert 30 <= len(rows.test) <= 50


def test_values_of_test_data_need_not_be_among_those_of_the_training_rows():
    (data, _), (held, values) = quantity(200), quantity(50, seed=1)
    rows = choose_rows(data, held)
    assert len(rows.test) == 50
    np.testing.assert_array_equal(values_of(rows.test), values)
    unknown = replace(held, labels=np.where(np.arange(50) < 5, -1, held.labels))
    assert len(choose_rows(data, unknown).test) == 45
    with pytest.raises(UserError, match="test: the labels of blobs are not numbers"):
        choose_rows(data, blobs(50))


@pytest.mark.parametrize(
    ("labels", "test", "complaint"),
    [
        ([1.5] * 40, None, r"^on: .* labels of the training rows of blobs, as R² needs, got 1\.5 alone \(32 rows\)"),
        ([1.5] * 40, [1.5, 2.5], r"^on: .* training rows .* got 1\.5 alone \(40 rows\); give more rows$"),
        (
            [0.5] * 39 + [2.5],
            None,
            r"^on: .* held-out rows .* got 0\.5 alone \(8 rows\); .* with --test$",
        ),
        ([0.5, 1.5] * 20, [1.5], r"^test: .* test rows of blobs, .* got 1\.5 alone \(1 row\); give more rows$"),
    ],
)
def test_the_part_that_has_one_value_alone_is_named(labels, test, complaint):
    def measured(values):
        names, at = np.unique(values, return_inverse=True)
        return replace(blobs(len(values)), labels=at, classes=tuple(map(repr, names.tolist())))

    with pytest.raises(UserError, match=complaint):
        choose_rows(measured(labels), None if test is None else measured(test), "regression")


def test_a_target_without_labels_is_refused():
    with pytest.raises(UserError, match="target: blobs has no labels"):
        choose_rows(blobs(labels=False), None, "regression")


def test_each_column_of_the_report_is_its_own_features():
    """Brightness is linear in the pixels: raw input and an invertible matrix find all of it, one pixel little."""
    whole, one = Projection(16), Projection(16)
    one.matrix = np.zeros_like(one.matrix)
    one.matrix[0, 0] = 1
    data = quantity()[0]
    found = evaluate(whole, data, progress=False)
    assert found.representation["regression"]["r2"].value > 0.999
    poor = evaluate(one, data, progress=False)
    assert poor.representation["regression"]["r2"].value < 0.3
    assert poor.baselines["raw"]["regression"]["r2"].value > 0.999
    assert poor.gains["raw"]["r2"].value < -0.6
    assert poor.verdict() == (
        "Learning did not help: on these test rows raw input, PCA and untrained encoder have a higher R²."
    )


def test_it_predicts_rows_it_has_not_seen():
    """Noise alone: a probe that had seen the test rows would find something."""
    data, _ = quantity(240)
    shuffled = replace(data, labels=np.random.default_rng(3).permutation(data.labels))
    found = evaluate(Projection(16), shuffled, progress=False).representation["regression"]["r2"]
    assert found.value < 0.05


def test_a_run_with_a_quantity_writes_its_page(tmp_path):
    report = evaluate(Projection(run=make_run(tmp_path)), quantity()[0], progress=False)
    drawn = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert drawn == {"projection.svg", "predicted.svg", "neighbours.png", "training.svg"}
    assert (report.evidence.gallery.labels == -1).all()
    assert len(report.evidence.projected_values) == report.about["test_rows"]


def test_true_floats_are_a_target_when_they_are_named(pca, tmp_path):
    frame = diabetes().assign(progression=lambda found: np.sqrt(found["progression"]))
    frame.to_parquet(tmp_path / "t.parquet")
    report = evaluate(pca, tmp_path / "t.parquet", labels="progression", progress=False, write=False)
    assert report.representation["regression"]["r2"].value > 0.2
    assert any("measurements" in note for note in report.notes)
    assert isinstance(frame, pd.DataFrame)
