"""The diagnosis: grades told apart, never on one sign alone, and silent about what is none of its business."""

from __future__ import annotations

from typing import Any

import pytest

from salience.evaluation.diagnosis import VERDICTS, diagnose

CONFIG: dict[str, Any] = {"options": {"temperature": 0.2}, "learning_rate": 2e-3, "steps": 120}


def course(**signs: tuple[float, float]) -> dict[str, Any]:
    """A record of seven probes; each sign goes straight from its first value to its second. Healthy by default."""
    signs = {
        "effective_rank": (8.0, 60.0),
        "std": (0.4, 0.8),
        "uniformity": (-0.5, -2.0),
        "loss": (5.9, 4.5),
        "alignment": (0.2, 0.2),
        "gradient": (1.0, 0.5),
        "knn": (0.37, 0.45),
    } | signs
    probes = [
        {"step": 20 * i} | {name: first + (last - first) * i / 6 for name, (first, last) in signs.items()}
        for i in range(7)
    ]
    return {
        "about": {"collapsed_loss": 6.236, "batch_size": 256, "view_distance": 0.7, "raw_knn": 0.36},
        "probes": probes,
    }


def collapsing(**signs: tuple[float, float]) -> dict[str, Any]:
    return course(std=(0.4, 0.001), uniformity=(-0.5, -0.001), effective_rank=(8.0, 1.0), **signs)


def test_a_healthy_run_is_healthy() -> None:
    found = diagnose(course(), CONFIG)
    assert found.verdict == "healthy"
    assert found.findings == ()


def test_a_run_that_becomes_a_point_has_collapsed() -> None:
    record = collapsing()
    record["probes"][-2] |= {"std": 0.002, "uniformity": -0.002, "effective_rank": 1.01}
    found = diagnose(record, CONFIG)
    assert found.verdict == "collapsed"
    assert all(finding.what and finding.why and finding.change for finding in found.findings)


@pytest.mark.parametrize(
    "alone",
    [
        {"effective_rank": (8.0, 1.2)},
        {"std": (0.4, 0.02), "uniformity": (-0.5, -0.01), "alignment": (0.2, 0.0001)},  # one thing, in three words
        {"loss": (5.9, 6.2)},
        {"gradient": (1.0, 1e-6)},
        {"alignment": (0.2, 0.9)},
    ],
)
def test_one_sign_alone_is_no_illness(alone: dict[str, tuple[float, float]]) -> None:
    record = course(**alone)
    record["probes"][-2] |= {name: last for name, (_, last) in alone.items()}
    assert diagnose(record, CONFIG).healthy


def test_one_probe_alone_is_no_illness() -> None:
    record = course()
    record["probes"][-1] |= {"std": 0.001, "uniformity": -0.001, "effective_rank": 1.0}
    assert diagnose(record, CONFIG).healthy


def test_a_reconstructive_method_may_have_any_rank() -> None:
    record = collapsing()
    for probe in record["probes"]:
        del probe["alignment"]  # it draws no pairs of views
        probe["loss"] = 0.1 - probe["step"] / 2000
    record["about"]["collapsed_loss"] = None
    assert diagnose(record, CONFIG).verdict != "collapsed"


def test_a_loss_that_is_no_number_fails_by_itself() -> None:
    record = course() | {"diverged": {"step": 50, "what": "the loss is nan", "learning_rate": 2.0}}
    found = diagnose(record, CONFIG)
    assert found.verdict == "failing"
    assert "nan at step 50" in found.findings[0].why


@pytest.mark.parametrize(
    ("about", "config", "what"),
    [
        ({}, {"options": {"temperature": 1e-3}}, "temperature"),
        ({}, {"options": {"momentum": 1.0}}, "teacher"),
        ({}, {"learning_rate": 0.6}, "learning rate"),
        ({}, {"options": {"variance": 0.0}}, "switched off"),
        ({"batch_size": 4}, {}, "batch"),
        ({"view_distance": 0.0}, {}, "views"),
    ],
)
def test_a_mistake_in_the_settings_is_named_once_something_goes_wrong(
    about: dict[str, Any], config: dict[str, Any], what: str
) -> None:
    sound, ill = course(), course(loss=(5.9, 6.0), knn=(0.37, 0.30))
    for record in (sound, ill):
        record["about"] |= about
    assert diagnose(sound, CONFIG | config).healthy
    found = diagnose(ill, CONFIG | config)
    assert found.verdict == "misconfigured"
    assert what in found.findings[0].what


def test_rising_and_not_yet_above_what_costs_nothing_is_under_trained() -> None:
    record = course(knn=(0.20, 0.30))
    assert diagnose(record, CONFIG).verdict == "under-trained"


def test_without_probes_enough_nothing_is_said() -> None:
    record = collapsing()
    record["probes"] = record["probes"][:1]
    assert diagnose(record, CONFIG).healthy
    assert set(VERDICTS) == {"collapsed", "failing", "misconfigured", "under-trained", "healthy"}
