"""The wiring of a report: which rows, which labels, which choices; each against an oracle that is computed here."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from salience.evaluation import evaluate
from salience.evaluation.calibration import calibration_error
from salience.evaluation.few_label import draw_labels, few_label_predictions
from salience.evaluation.linear_probe import PENALTIES, fit_probe
from salience.evaluation.measure import Task, measure
from salience.evaluation.protocol import make_task
from salience.evaluation.retrieval import retrieval_metrics
from salience.evaluation.row_choice import choose_rows
from salience.evaluation.split import held_out
from salience.measures.embedding_geometry import geometry_metrics
from salience.measures.raw_features import raw_features

from .conftest import Projection, blobs


@pytest.fixture(scope="module")
def report():
    return evaluate(Projection(), blobs(240, noise=60.0), progress=False)


def test_labels_of_the_test_rows_teach_nothing():
    """Pure noise with labels by chance: whatever had seen the labels of the test rows would be far above chance."""
    generator = np.random.default_rng(5)
    data = replace(
        blobs(600),
        stored=generator.integers(0, 256, (600, 1, 4, 4)).astype(np.uint8),
        labels=generator.integers(0, 3, 600),
    )
    report = evaluate(Projection(16), data, progress=False)
    chance, error = 1 / 3, np.sqrt(2 / 9 / report.about["test_rows"])
    found = report.representation
    accuracies = [found["knn"]["accuracy"], found["linear"]["accuracy"]]
    accuracies += [metrics["accuracy"] for metrics in found["few_label"].values()]
    assert all(metric.value < chance + 4 * error for metric in accuracies)


def test_test_labels_change_figures_but_no_prediction():
    data, held = blobs(200, noise=60.0), blobs(60, noise=60.0, seed=1)
    other = replace(held, labels=(held.labels + 1) % 3)
    first, second = (evaluate(Projection(), data, test, progress=False) for test in (held, other))
    ours, theirs = (report.evidence.confusion.sum(0) for report in (first, second))
    np.testing.assert_array_equal(ours, theirs)  # as often predicted, each class
    assert second.representation["linear"]["accuracy"].value < first.representation["linear"]["accuracy"].value - 0.3


def test_the_report_s_probe_chooses_its_penalty():
    """Against scikit-learn at the penalty that held-out rows choose; at the ends of the grid it is worse."""
    data = blobs(300, classes=6, noise=150.0)
    rows = choose_rows(data, None)
    x, held = (torch.from_numpy(Projection(16).embed(part)) for part in (rows.train, rows.test))
    y, truth = torch.from_numpy(rows.train.labels), rows.test.labels
    task = make_task(rows)
    probe = fit_probe(x, y, 6, torch.from_numpy(task.validation))
    assert task.validation.sum() == 48  # a fifth of the training rows
    found = evaluate(Projection(16), data, progress=False).representation["linear"]["accuracy"].value
    assert found == pytest.approx(float((probe.scores(held).argmax(0).numpy() == truth).mean()))
    assert PENALTIES[-1] < probe.penalty < PENALTIES[0]


def test_the_probe_s_validation_rows_keep_groups_whole():
    groups = np.arange(240) // 4
    rows = choose_rows(blobs(240, groups=groups), None)
    task = make_task(rows)
    assert not set(rows.train.groups) & set(rows.test.groups)
    inside, outside = rows.train.groups[task.validation], rows.train.groups[~task.validation]
    assert len(inside)
    assert not set(inside) & set(outside)


def test_k_is_20_and_the_temperature_a_tenth():
    """On these rows 19, 21, and other temperatures would each say something else."""
    generator = np.random.default_rng(0)
    train, test = (generator.normal(size=(n, 4)).astype(np.float32) for n in (400, 3000))
    y, truth = generator.integers(0, 3, 400), generator.integers(0, 3, 3000)
    task = Task(y, truth, 3, held_out(y), {})
    found = measure(train, test, task, lambda _: None).measures["knn"]["accuracy"].value

    def oracle(k, temperature):
        similarity = normalise(test) @ normalise(train).T
        nearest = np.argsort(-similarity, 1)[:, :k]
        weight = np.exp(np.take_along_axis(similarity, nearest, 1) / temperature)
        votes = np.stack([(weight * (y[nearest] == label)).sum(1) for label in range(3)], 1)
        return (votes.argmax(1) == truth).mean()

    assert found == pytest.approx(oracle(20, 0.1))
    for other in ((19, 0.1), (21, 0.1), (20, 0.07), (20, 0.2)):
        assert oracle(*other) != pytest.approx(found, abs=1e-4), other


def normalise(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_few_label_accuracy_is_the_mean_over_draws_with_students_interval(report):
    data, rep = blobs(240, noise=60.0), Projection()
    rows = choose_rows(data, None)
    x, held = (torch.from_numpy(rep.embed(part)) for part in (rows.train, rows.test))
    y = rows.train.labels
    said, confidence = few_label_predictions(x, torch.from_numpy(y), held, draw_labels(y, 2), 3)
    right = (said.numpy() == rows.test.labels).mean(1)
    assert len(right) == 20
    found = report.representation["few_label"]["2"]
    half = stats.t.ppf(0.975, 19) * right.std(ddof=1) / np.sqrt(20)
    assert found["accuracy"].value == pytest.approx(right.mean())
    assert found["accuracy"].low == pytest.approx(right.mean() - half)
    assert found["accuracy"].high == pytest.approx(min(1, right.mean() + half))
    assert found["confidence"].value == pytest.approx(float(confidence.mean()), abs=1e-5)
    errors = [
        calibration_error(sure, torch.from_numpy(one == rows.test.labels))
        for sure, one in zip(confidence, said.numpy(), strict=True)
    ]
    assert found["calibration_error"].value == pytest.approx(np.mean(errors), abs=1e-6)
    assert "2 labels per class calibration error" in report.text()


def test_the_gain_is_ours_minus_theirs_draw_by_draw(report):
    data, rep = blobs(240, noise=60.0), Projection()
    rows = choose_rows(data, None)
    y, draws = torch.from_numpy(rows.train.labels), draw_labels(rows.train.labels, 5)
    right = []
    for embed in (rep.embed, raw_features):
        x, held = (torch.from_numpy(embed(part)) for part in (rows.train, rows.test))
        right.append((few_label_predictions(x, y, held, draws, 3)[0].numpy() == rows.test.labels).mean(1))
    difference = right[0] - right[1]
    half = stats.t.ppf(0.975, 19) * difference.std(ddof=1) / np.sqrt(20)
    found = report.gains["raw"]["5"]["accuracy"]
    assert found.value == pytest.approx(difference.mean())
    assert (found.low, found.high) == pytest.approx((difference.mean() - half, difference.mean() + half))


def test_clusters_are_fitted_to_training_rows_and_as_many_as_classes(report):
    rep, rows = Projection(), choose_rows(blobs(240, noise=60.0), None)
    train, test = map(rep.embed, (rows.train, rows.test))
    said = KMeans(3, n_init=3, max_iter=100, random_state=0).fit(train).predict(test)
    expected = normalized_mutual_info_score(rows.test.labels, said)
    assert report.representation["clustering"]["nmi"].value == pytest.approx(expected)


def test_each_class_of_the_confusion_is_its_own():
    """Three classes that are told apart, two of them called by each other's name in the test data's own numbering."""
    data, held = blobs(120, noise=1.0), blobs(60, noise=1.0, seed=1)
    held = replace(held, classes=("class 1", "class 0", "class 2"), labels=np.array([1, 0, 2])[held.labels])
    found = evaluate(Projection(), data, held, progress=False).evidence.confusion
    np.testing.assert_array_equal(found, np.diag([20, 20, 20]))


def test_what_is_measured_on_a_part_is_measured_on_a_random_part(monkeypatch):
    """Retrieval and geometry on test rows, k-means fitted to training rows and asked of all test rows."""
    for name, most in (("RETRIEVED", 25), ("CLUSTERED", 30), ("SHAPED", 40)):
        monkeypatch.setattr(f"salience.evaluation.measure.MOST_{name}", most)
    generator = np.random.default_rng(0)
    y, truth = np.sort(generator.integers(0, 3, 90)), np.sort(generator.integers(0, 3, 80))
    train, test = (generator.normal(size=(len(of), 4)).astype(np.float32) + of[:, None] for of in (y, truth))
    found = measure(train, test, Task(y, truth, 3, held_out(y), {}), lambda _: None).measures
    rows = {most: np.sort(np.random.default_rng(0).choice(n, most, replace=False)) for n, most in ((80, 25), (90, 30))}
    asked = rows[25]
    assert found["retrieval"] == retrieval_metrics(torch.from_numpy(test[asked]), torch.from_numpy(truth[asked]))
    clusters = KMeans(3, n_init=3, max_iter=100, random_state=0).fit(train[rows[30]]).predict(test)
    expected = normalized_mutual_info_score(truth, clusters)
    assert found["clustering"]["nmi"].value == pytest.approx(expected)
    shaped = np.sort(np.random.default_rng(0).choice(80, 40, replace=False))
    for name, metric in geometry_metrics(torch.from_numpy(test[shaped])).items():
        assert found["geometry"][name].value == pytest.approx(metric.value)


def test_the_task_of_numbers_keeps_the_groups_of_the_training_rows():
    groups = np.arange(120) // 4
    data = blobs(120, groups=groups)
    values = np.round(np.random.default_rng(0).normal(size=120), 4)
    names, labels = np.unique(values, return_inverse=True)
    rows = choose_rows(replace(data, labels=labels, classes=tuple(map(repr, names.tolist()))), None)
    task = make_task(rows)
    np.testing.assert_array_equal(task.groups, rows.train.groups)
    assert not set(rows.train.groups) & set(rows.test.groups)


def test_the_confusion_counts_each_truth_against_what_is_said_of_it():
    """Of classes that are mistaken for each other, without rows of the first class to train on."""
    data, held = blobs(300, classes=4, noise=150.0), blobs(120, classes=4, noise=150.0, seed=1)
    data = data.subset(np.flatnonzero(data.labels > 0))
    rows, rep = choose_rows(data, held), Projection()
    train, test = (rep.embed(part) for part in (rows.train, rows.test))
    said = 1 + measure(train, test, make_task(rows), lambda _: None).predicted
    expected = np.zeros((4, 4), int)
    for truth, label in zip(rows.test.labels, said, strict=True):
        expected[truth, label] += 1
    assert (expected != expected.T).any()
    found = evaluate(rep, data, held, progress=False).evidence.confusion
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found.sum(1), [0, 30, 30, 30])
