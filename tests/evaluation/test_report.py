from dataclasses import replace

import numpy as np
import pytest

from salience.evaluation.page import best
from salience.evaluation.report import Evidence, Report, number
from salience.measures.intervals import Metric

COUNTS = ("1", "2", "5")


def with_gains(*intervals, raw=None):
    """A report whose gains over PCA are these intervals, for 1, 2 and 5 labels."""
    gains = {k: {"accuracy": Metric(sum(span) / 2, *span)} for k, span in zip(COUNTS, intervals, strict=True)}
    measures = {"few_label": {k: {"accuracy": Metric(0.5, 0.4, 0.6)} for k in COUNTS}}
    about = {"method": "m", "dim": 4, "on": "data", "train_rows": 10, "test_rows": 5}
    evidence = Evidence(np.zeros((2, 2)), np.zeros(2, int))
    return Report(measures, {"pca": measures}, {"pca": gains, "raw": raw}, {}, about, (), ("a", "b"), evidence)


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        (
            [(0.1, 0.2), (0.1, 0.2), (0.01, 0.2)],
            "Learning helped: on these test rows better than every baseline with 1, 2 and 5 labels per class.",
        ),
        (
            [(0.1, 0.2), (-0.1, 0.2), (0.01, 0.2)],
            "Learning helped with 1 and 5 labels per class; undecided with the rest.",
        ),
        (
            [(0.1, 0.2), (-0.1, 0.2), (-0.1, -0.2 + 0.1)],
            "Learning helped with 1 label per class; a baseline is better with 5.",
        ),
    ],
)
def test_verdict_follows_the_paired_intervals(intervals, expected):
    assert with_gains(*intervals).verdict() == expected


def test_verdict_says_when_nothing_is_better():
    verdict = with_gains((-0.1, 0.2), (-0.1, 0.2), (-0.2, -0.1)).verdict()
    assert verdict.startswith("Learning did not help")
    assert verdict.endswith("a baseline is better with 5.")


def test_every_baseline_must_be_beaten():
    above = {k: {"accuracy": Metric(0.1, 0.05, 0.2)} for k in COUNTS}
    below = {k: {"accuracy": Metric(-0.1, -0.2, 0.05)} for k in COUNTS}
    report = with_gains(*[(0.1, 0.2)] * 3, raw=above)
    assert report.verdict().startswith("Learning helped:")
    assert replace(report, gains={**report.gains, "raw": below}).verdict().startswith("Learning did not help")


def test_one_baseline_that_is_better_is_enough_to_say_so():
    """PCA is beaten with 1 label; with 2 raw input is better, PCA undecided; with 5 both are undecided."""
    spans = {"1": (0.05, 0.2), "2": (-0.2, -0.05), "5": (-0.1, 0.1)}
    raw = {k: {"accuracy": Metric(sum(span) / 2, *span)} for k, span in spans.items()}
    report = with_gains((0.1, 0.2), (-0.1, 0.2), (-0.1, 0.1), raw=raw)
    assert report.verdict() == "Learning helped with 1 label per class; a baseline is better with 2."


def test_a_gain_of_which_chance_is_not_excluded_is_none():
    assert with_gains((-0.01, 0.5), (0.0, 0.5), (-0.1, 0.3)).verdict() == (
        "Learning did not help: on these test rows some baseline is as good at every number of labels."
    )


def test_best_marks_the_highest_and_what_its_interval_does_not_exclude():
    metrics = [Metric(0.8, 0.7, 0.95), Metric(0.9, 0.85, 0.95), Metric(0.5, 0.4, 0.6), None]
    assert best(metrics) == {0, 1}


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (-3.2, "-3.200"), (14.666, "14.67"), (1437, "1437"), (-1e-9, "0.000")]
)
def test_numbers_are_short(value, text):
    assert number(value) == text
