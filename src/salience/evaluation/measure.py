"""All measures of one representation on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salience.evaluation.calibration import calibration_error
from salience.evaluation.clustering import cluster, clustering_metrics
from salience.evaluation.few_label import draw_labels, few_label_predictions, label_counts
from salience.evaluation.linear_probe import fit_probe
from salience.evaluation.regression import fit_ridge, r2_gain, r2_metric
from salience.evaluation.retrieval import retrieval_metrics
from salience.evaluation.split import held_out, sample
from salience.measures import intervals
from salience.measures.embedding_geometry import geometry_metrics
from salience.measures.intervals import Metric
from salience.measures.knn import knn_scores
from salience.measures.raw_features import around_mean

Measures = dict[str, Any]  # family -> metric -> Metric; few_label: labels per class -> metric -> Metric
Say = Callable[[str], None]

STAGES = 6  # announced for each representation: its features, then the five below
MOST_RETRIEVED = 4_000  # test rows that search among each other
MOST_CLUSTERED = 10_000  # training rows k-means is fitted on
MOST_SHAPED = 2_000  # rows whose geometry is taken

INTERVALS = {
    "knn": "95% over test rows: Wilson; of balanced accuracy, Wilson of each class's recall, joined",
    "linear": "95% over test rows, for the fitted probe: Wilson; of balanced accuracy, Wilson of each recall, joined",
    "few_label": "95% of the mean over label draws (Student's t), for these test rows",
    "clustering": "95% bootstrap over test rows, for these clusters",
    "retrieval": "95% of the mean over test rows as queries (Student's t)",
    "regression": "95% bootstrap over test rows, for the fitted probe",
    "geometry": "95% over rows: infinitesimal jackknife; of alignment, Student's t",
    "codes": "95% over test rows: Student's t; of active dimensions, bootstrap; including the error of log Z",
    "own": "95% bootstrap over test rows",
}


@dataclass(frozen=True)
class Task:
    """What every representation is measured by: the same rows, classes and label draws.

    train_labels: [n], test_labels: [m], in [0, classes)
    validation: [n] bool, training rows that choose the probe's penalty
    draws: labels per class -> [draws rows], rows of the training set
    """

    train_labels: np.ndarray
    test_labels: np.ndarray
    classes: int
    validation: np.ndarray
    draws: Mapping[int, np.ndarray]

    @classmethod
    def of(cls, train_labels: np.ndarray, test_labels: np.ndarray, classes: int, groups: np.ndarray | None) -> Task:
        """groups: [n] of the training rows, or None"""
        one_group = groups is not None and len(np.unique(groups)) < 2
        validation = held_out(train_labels, None if one_group else groups)
        draws = {k: draw_labels(train_labels, k) for k in label_counts(train_labels)}
        return cls(train_labels, test_labels, classes, validation, draws)


@dataclass(frozen=True)
class Measured:
    """The measures, and what figures and paired comparisons need beside them.

    predicted: [m] by the linear probe, or by ridge regression
    right: labels per class -> [draws], the accuracy of each draw
    """

    measures: Measures
    predicted: np.ndarray | None = None
    right: Mapping[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ValueTask:
    """What every representation is measured by where labels are numbers.

    train_values: [n], test_values: [m] float64;  groups: [n] of the training rows, or None
    """

    train_values: np.ndarray
    test_values: np.ndarray
    groups: np.ndarray | None


def measure_values(train: np.ndarray, test: np.ndarray, task: ValueTask, say: Say) -> Measured:
    """train: [n d], test: [m d] features"""
    say("ridge regression")
    probe = fit_ridge(np.asarray(train, np.float64), task.train_values, task.groups)
    predicted = probe.predict(np.asarray(test, np.float64))
    measures = {"regression": {"r2": r2_metric(task.test_values, predicted)}, "geometry": geometry(test)}
    return Measured(measures, predicted)


def measure(train: np.ndarray, test: np.ndarray, task: Task, say: Say, *, centred: bool = False) -> Measured:
    """Measure features by classes.

    train: [n d], test: [m d] features
    centred: whether similarities are cosines around the mean of the training rows, as raw input needs
    """
    x, held = as_features(train), as_features(test)
    y, truth = torch.from_numpy(task.train_labels), task.test_labels
    bank, asked = around_mean(x, held) if centred else (x, held)
    say("kNN")
    neighbours = knn_scores(bank, y, asked, task.classes).argmax(1).numpy()
    say("linear probe")
    probe = fit_probe(x, y, task.classes, torch.from_numpy(task.validation))
    predicted = probe.scores(held).argmax(0).numpy()
    say("few labels")
    few = {k: _few_label(x, y, held, truth, rows, task.classes) for k, rows in task.draws.items()}
    say("clusters")
    found = cluster(x[sample(np.arange(len(x)), MOST_CLUSTERED)].numpy(), held.numpy(), task.classes)
    say("retrieval and geometry")
    queries = torch.from_numpy(sample(np.arange(len(held)), MOST_RETRIEVED))
    measures = {
        "knn": classification(neighbours, truth),
        "linear": classification(predicted, truth),
        "few_label": {str(k): metrics for k, (metrics, _) in few.items()},
        "clustering": clustering_metrics(found, truth),
        "retrieval": retrieval_metrics(asked[queries], torch.from_numpy(truth)[queries]),
        "geometry": geometry(test),
    }
    return Measured(measures, predicted, {k: right for k, (_, right) in few.items()})


def classification(predicted: np.ndarray, truth: np.ndarray) -> dict[str, Metric]:
    """predicted, truth: [m]"""
    right = predicted == truth
    return {"accuracy": intervals.accuracy(right), "balanced_accuracy": intervals.balanced_accuracy(right, truth)}


def _few_label(
    x: Tensor, y: Tensor, held: Tensor, truth: np.ndarray, rows: np.ndarray, classes: int
) -> tuple[dict[str, Metric], np.ndarray]:
    """The mean over draws, and each draw's accuracy [draws]."""
    said, confidence = few_label_predictions(x, y, held, rows, classes)
    right = said.numpy() == truth
    share = np.eye(classes)[truth] / np.bincount(truth, minlength=classes).clip(1)  # [m c]
    present = len(np.unique(truth))
    accuracy, balanced = right.mean(1), (right @ share).sum(1) / present
    errors = [calibration_error(*draw) for draw in zip(confidence, torch.from_numpy(right), strict=True)]
    values = {
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
        "confidence": confidence.double().mean(1).numpy(),
        "calibration_error": np.array(errors),
    }
    return {name: intervals.mean(found, 0.0, 1.0) for name, found in values.items()}, accuracy


def geometry(features: np.ndarray) -> dict[str, Metric]:
    """features: [n d]"""
    return geometry_metrics(as_features(features[sample(np.arange(len(features)), MOST_SHAPED)]))


def gain(ours: Measured, theirs: Measured, task: Task | ValueTask) -> Measures:
    """How much more of the test rows the same label draws get right; paired, so its interval is narrower.

    -> labels per class -> {"accuracy": Metric of the difference}; of values {"r2": Metric of the difference}
    """
    if isinstance(task, ValueTask):
        assert ours.predicted is not None
        assert theirs.predicted is not None
        return {"r2": r2_gain(task.test_values, ours.predicted, theirs.predicted)}
    return {str(k): {"accuracy": intervals.mean(ours.right[k] - theirs.right[k], -1.0, 1.0)} for k in ours.right}


def as_features(x: np.ndarray) -> Tensor:
    """[n d] of any float type -> float32"""
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
