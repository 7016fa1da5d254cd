"""The diagnosis: grades told apart, never on one sign alone, and silent about what is none of its business."""

from __future__ import annotations

from typing import Any

import pytest

from salience.health.diagnosis import VERDICTS, Diagnosis, diagnose

CONFIG: dict[str, Any] = {"options": {"temperature": 0.2}, "learning_rate": 2e-3, "steps": 120}

METHODS = {  # one that declares a sign of these values
    "active_units": "vae",
    "kl": "crvae",
    "dead_units": "sparse_autoencoder",
    "unexplained": "sparse_autoencoder",
    "judged_real": "gan",
    "sample_spread": "gan",
    "classes_made": "gan",
    "entropy_of_mean": "dino",
    "prototype_usage": "swav",
    "teacher_distance": "byol",
}


def record_of(**signs: tuple[float, float]) -> dict[str, Any]:
    """A record of seven probes; each sign goes straight from its first value to its second. Healthy by default.

    kNN does not settle it: it stays where it was.
    """
    signs = {
        "effective_rank": (20.0, 60.0),
        "std": (0.4, 0.8),
        "uniformity": (-0.5, -2.0),
        "loss": (5.9, 4.5),
        "alignment": (0.2, 0.2),
        "gradient": (1.0, 0.5),
        "knn": (0.37, 0.38),
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
    return record_of(std=(0.4, 0.001), uniformity=(-0.5, -0.001), effective_rank=(20.0, 1.0), **signs)


def settled(record: dict[str, Any]) -> dict[str, Any]:
    """The same, its loss no longer on its way from the third probe on."""
    for probe in record["probes"][2:]:
        probe["loss"] = 4.52 - 0.0001 * probe["step"]
    return record


def test_a_healthy_run_is_healthy() -> None:
    found = diagnose(record_of(), CONFIG)
    assert found.verdict == "healthy"
    assert found.findings == ()
    assert found.text() == "healthy"


def test_a_run_that_becomes_a_point_has_collapsed() -> None:
    record = collapsing()
    record["probes"][-2] |= {"std": 0.002, "uniformity": -0.002, "effective_rank": 1.01}
    found = diagnose(record, CONFIG)
    assert found.verdict == "collapsed"
    assert all(finding.what and finding.why and finding.change for finding in found.findings)


@pytest.mark.parametrize(
    ("alone", "what"),
    [
        ({"effective_rank": (20.0, 1.2)}, "the representation has at most one dimension"),
        (  # one thing, in three words
            {"std": (0.4, 0.02), "uniformity": (-0.5, -0.01), "alignment": (0.2, 0.0001)},
            "all items become alike",
        ),
        ({"loss": (5.9, 6.2)}, "the loss is that of a collapsed network"),
        ({"gradient": (1.0, 1e-6)}, "gradients have vanished"),
        ({"alignment": (0.2, 0.9)}, "two views of an item do not become more similar"),
        ({"knn": (0.37, 0.30)}, "kNN is no better than raw input or an untrained encoder"),
    ],
)
def test_one_sign_alone_is_no_illness_and_is_told(alone: dict[str, tuple[float, float]], what: str) -> None:
    record = settled(record_of(**alone)) if "knn" in alone else record_of(**alone)
    record["probes"][-2] |= {name: last for name, (_, last) in alone.items()}
    found = diagnose(record, CONFIG)
    assert found.healthy
    assert [finding.what for finding in found.findings] == [what]
    assert found.text().startswith(f"healthy, with doubts\n  {what}: ")
    assert found.to_dict()["verdict"] == "healthy"


def test_low_neighbours_need_a_second_sign() -> None:
    """A loss that falls at two probes, few steps, or an ill geometry; that they recover from a dip is none."""
    record = record_of(knn=(0.37, 0.30))
    found = diagnose(record, CONFIG)
    assert found.verdict == "under-trained"
    assert "the loss still falls" in found.findings[0].why
    assert diagnose(settled(record), CONFIG).healthy
    few = diagnose(record, CONFIG | {"steps": 99})
    assert (few.verdict, few.findings[0].change) == ("under-trained", "more --epochs")
    assert "it has 99 steps in all" in few.findings[0].why
    record["probes"][-1]["loss"] = 4.2  # at one probe
    record["probes"][2]["knn"] = 0.20
    assert diagnose(record, CONFIG).healthy
    for probe in record["probes"]:
        del probe["loss"]  # of a method that tells none
    assert diagnose(record, CONFIG).healthy
    record["probes"][2]["knn"] = 0.35
    record["probes"][-2]["effective_rank"] = record["probes"][-1]["effective_rank"] = 2.0
    assert diagnose(record, CONFIG).verdict == "failing"


@pytest.mark.parametrize("views", [True, False])
@pytest.mark.parametrize("falls", [True, False])
def test_views_are_no_remedy_of_a_method_that_has_none(views: bool, falls: bool) -> None:
    record = record_of(knn=(0.37, 0.30))
    if not falls:
        settled(record)
    if not views:
        del record["about"]["view_distance"]
    (finding,) = diagnose(record, CONFIG).findings
    assert ("salience views" in finding.change) == views
    assert "--learning-rate" in finding.change


def test_a_mistake_and_what_it_does_to_the_same_thing_are_one_sign() -> None:
    record = record_of(teacher_distance=(0.0, 0.9))
    record["probes"][-2]["teacher_distance"] = 0.9
    frozen = CONFIG | {"method": "byol", "options": {"momentum": 1}}
    assert diagnose(record, frozen).healthy
    record = record_of(teacher_distance=(0.0, 0.9), loss=(5.9, 6.0))
    record["probes"][-2]["teacher_distance"] = 0.9
    assert diagnose(record, frozen).verdict == "misconfigured"


def test_two_signs_of_different_kinds_are() -> None:
    record = record_of(effective_rank=(20.0, 2.0), knn=(0.37, 0.30))
    record["probes"][-2]["effective_rank"] = 2.0
    assert diagnose(record, CONFIG).verdict == "failing"


def test_the_first_steps_of_any_training_look_ill() -> None:
    record = record_of(effective_rank=(20.0, 2.0), loss=(5.9, 6.0))
    record["probes"][-2]["effective_rank"] = 2.0
    assert diagnose(record, CONFIG | {"steps": 100}).verdict == "failing"
    found = diagnose(record, CONFIG | {"steps": 99})
    assert found.verdict == "under-trained"
    assert [finding.change for finding in found.findings] == ["more --epochs"]


def test_what_is_under_trained_is_told_one_remedy() -> None:
    record = record_of(effective_rank=(20.0, 2.0), loss=(5.9, 6.0), knn=(0.37, 0.30))
    record["probes"][-2]["effective_rank"] = 2.0
    record["probes"][3]["knn"] = 0.20
    found = diagnose(record, CONFIG)
    assert found.verdict == "under-trained"
    assert [finding.change for finding in found.findings] == ["more --epochs"]


def test_labels_that_say_something_is_learnt_outweigh_geometry() -> None:
    """A healthy SimSiam: rank 3, items close together, neighbours far above what they were."""
    record = record_of(effective_rank=(60.0, 3.0), uniformity=(-1.4, -0.5), knn=(0.37, 0.46))
    record["probes"][-2] |= {"effective_rank": 3.1, "uniformity": -0.5}
    found = diagnose(record, CONFIG)
    assert (found.verdict, found.findings) == ("healthy", ())
    for probe in record["probes"]:
        probe["knn"] = 0.35
    assert diagnose(record, CONFIG).verdict == "failing"


def test_a_dip_of_neighbours_is_forgiven_while_training_is_young() -> None:
    record = record_of(effective_rank=(20.0, 2.0), knn=(0.37, 0.35))
    record["probes"] = record["probes"][:3]
    for probe in record["probes"][1:]:
        probe |= {"step": 5 * probe["step"], "effective_rank": 2.0, "knn": 0.35}
    assert diagnose(record, CONFIG | {"steps": 2000}).healthy
    assert diagnose(record, CONFIG | {"steps": 200}).verdict == "failing"


def test_one_probe_alone_is_no_illness() -> None:
    record = record_of()
    record["probes"][-1] |= {"std": 0.001, "uniformity": -0.001, "effective_rank": 1.0}
    assert diagnose(record, CONFIG).healthy


def test_a_reconstructive_method_may_have_any_rank() -> None:
    record = collapsing()
    for probe in record["probes"]:
        del probe["alignment"]  # it draws no pairs of views
    record["about"]["collapsed_loss"] = None
    assert diagnose(record, CONFIG).healthy


def test_a_loss_that_is_no_number_fails_by_itself() -> None:
    record = record_of() | {"diverged": {"step": 50, "what": "the loss is nan", "learning_rate": 2.0}}
    found = diagnose(record, CONFIG)
    assert found.verdict == "failing"
    assert "nan at step 50" in found.findings[0].why


@pytest.mark.parametrize(
    ("about", "config", "what"),
    [
        ({}, {"method": "simclr", "options": {"temperature": 1e-3}}, "temperature"),
        ({}, {"method": "dino", "options": {"student_temperature": 9.0}}, "student_temperature"),
        ({}, {"method": "moco", "options": {"momentum": 1.0}}, "teacher"),
        ({}, {"learning_rate": 0.6}, "learning rate"),
        ({}, {"method": "vicreg", "options": {"variance": 0.0}}, "is off"),
        ({}, {"method": "barlowtwins", "options": {"redundancy": 0.0}}, "is off"),
        ({"batch_size": 4}, {}, "batch"),
        ({"view_distance": 0.0}, {}, "views"),
    ],
)
def test_a_mistake_in_the_settings_is_named_once_something_goes_wrong(
    about: dict[str, Any], config: dict[str, Any], what: str
) -> None:
    sound, ill = record_of(), record_of(loss=(5.9, 6.0), knn=(0.37, 0.30))
    for record in (sound, ill):
        record["about"] |= about
    doubted = diagnose(sound, CONFIG | config)
    assert doubted.healthy
    assert [what in finding.what for finding in doubted.findings] == [True]
    found = diagnose(ill, CONFIG | config)
    assert found.verdict == "misconfigured"
    assert what in found.findings[0].what
    assert len(found.findings) > 1
    assert {later.change for later in found.findings[1:]} == {"mend the settings above first"}


@pytest.mark.parametrize(("last", "doubts"), [(0.34, 0), (0.32, 1)])
def test_neighbours_are_a_doubt_beyond_what_they_can_err(last: float, doubts: int) -> None:
    record = settled(record_of(knn=(0.37, last)))
    record["about"]["labelled"] = 500  # two standard errors are 0.043
    record["probes"][-2]["knn"] = last
    assert len(diagnose(record, CONFIG).findings) == doubts
    assert diagnose(record, CONFIG | {"steps": 200}).findings == ()  # not at the end


@pytest.mark.parametrize(("last", "verdict"), [(0.34, "healthy"), (0.32, "misconfigured")])
def test_at_the_end_a_mistake_needs_neighbours_lower_than_they_can_err(last: float, verdict: str) -> None:
    record = settled(record_of(knn=(0.37, last)))
    record["about"]["labelled"] = 500
    record["probes"][-2]["knn"] = last
    found = diagnose(record, CONFIG | {"learning_rate": 0.6})
    assert found.verdict == verdict
    assert found.findings[0].what == "the learning rate is high"
    assert diagnose(record, CONFIG | {"learning_rate": 0.6, "steps": 200}).verdict == "misconfigured"  # not at the end


def test_rising_and_not_yet_above_what_costs_nothing_is_under_trained() -> None:
    record = record_of(knn=(0.37, 0.36))
    record["probes"][2]["knn"] = 0.30
    found = diagnose(record, CONFIG)
    assert found.verdict == "under-trained"
    assert found.findings[0].change == "more --epochs"


def test_what_has_lost_much_of_its_neighbours_is_not_told_to_go_on() -> None:
    record = record_of(knn=(0.37, 0.26), effective_rank=(20.0, 2.0))
    record["probes"][-2]["effective_rank"] = 2.0
    record["probes"][2]["knn"] = 0.20  # and rises since
    found = diagnose(record, CONFIG)
    assert found.verdict == "failing"
    record["probes"][-1]["knn"] = record["probes"][-2]["knn"] = 0.29
    assert diagnose(record, CONFIG).verdict == "under-trained"


def test_neighbours_poor_at_one_probe_alone_are_no_sign() -> None:
    record = record_of(effective_rank=(20.0, 2.0), knn=(0.37, 0.38))
    record["probes"][-2]["effective_rank"] = 2.0
    record["probes"][-1]["knn"] = 0.20
    assert diagnose(record, CONFIG).healthy
    record["probes"][-2]["knn"] = 0.20
    assert diagnose(record, CONFIG).verdict == "failing"


def test_a_training_that_ended_before_any_sign_could_speak_is_not_called_healthy() -> None:
    record = collapsing()
    record["probes"] = [record["probes"][0], record["probes"][-1] | {"step": 3}]
    found = diagnose(record, CONFIG | {"steps": 3})
    assert found.verdict == "under-trained"
    assert found.findings[0].why == "it has 3 steps in all, too few for a verdict"
    told = diagnose(record, CONFIG | {"steps": 3000})  # it goes on, or was stopped
    assert told.verdict == "under-trained"
    assert "after 3 of 3,000 steps, too few" in told.findings[0].why
    assert "--resume" in told.findings[0].change


def test_items_that_are_all_the_same_are_named_before_anything_else() -> None:
    record = collapsing()
    record["about"]["one_item"] = True
    found = diagnose(record, CONFIG)
    assert (found.verdict, len(found.findings)) == ("misconfigured", 1)
    assert found.findings[0].what == "all items of the data are the same"


def test_without_probes_enough_it_is_too_early_to_tell() -> None:
    for probes in (0, 1, 2):
        record = collapsing()
        record["probes"] = record["probes"][:probes]
        assert diagnose(record, CONFIG).findings[0].what == "training has hardly begun"
    assert diagnose({}, CONFIG).verdict == "under-trained"
    assert set(VERDICTS) == {"collapsed", "failing", "misconfigured", "under-trained", "healthy"}


@pytest.mark.parametrize(
    ("signs", "what"),
    [
        ({"entropy_of_mean": (6.9, 0.1), "mean_entropy": (6.5, 0.1)}, "the same output for all items"),
        ({"entropy_of_mean": (6.2, 6.92), "mean_entropy": (5.8, 6.91)}, "output is uniform"),
        ({"prototype_usage": (0.9, 0.01)}, "few prototypes"),
        ({"teacher_distance": (0.0, 0.9)}, "its teacher have diverged"),
    ],
)
def test_outputs_that_tell_nothing_apart_are_a_sign(signs: dict[str, tuple[float, float]], what: str) -> None:
    record = record_of(**signs)
    record["probes"][-2] |= {name: last for name, (_, last) in signs.items()}
    config = CONFIG | {"method": METHODS[next(iter(signs))], "options": {}}
    assert diagnose(record, config).healthy  # alone
    for probe in record["probes"][-2:]:
        probe |= {"knn": 0.25}
    found = diagnose(record, config)
    assert found.verdict == "failing"
    assert any(what in finding.what for finding in found.findings)


def rebuilding(**signs: tuple[float, float]) -> dict[str, Any]:
    """The record of a method that does not compare items."""
    record = record_of(**{"effective_rank": (20.0, 2.0), "loss": (90.0, 60.0)} | signs)
    del record["about"]["collapsed_loss"]
    return record


@pytest.mark.parametrize(
    ("signs", "verdict", "what"),
    [
        ({"active_units": (0.5, 0.3), "kl": (9.0, 12.0)}, "healthy", ""),
        ({"active_units": (0.2, 0.19)}, "healthy", "most of the code is silent"),  # one sign alone
        ({"active_units": (0.2, 0.19), "kl": (0.5, 0.05)}, "collapsed", "the posterior has collapsed"),
        ({"active_units": (0.9, 0.3), "kl": (0.5, 0.05)}, "healthy", "the posterior has collapsed"),
        ({"dead_units": (0.95, 0.99)}, "healthy", "most units are dead"),
        ({"dead_units": (0.95, 0.99), "loss": (60.0, 60.0)}, "failing", "most units are dead"),
        ({"judged_real": (0.99, 1.0), "judged_fake": (0.99, 0.6)}, "healthy", ""),
        (
            {"judged_real": (0.99, 1.0), "judged_fake": (0.99, 1.0), "sample_spread": (0.5, 0.01)},
            "failing",
            "the discriminator has won",
        ),
        ({"sample_spread": (0.1, 0.1), "coverage": (0.9, 0.8)}, "healthy", "generated items are much alike"),
        ({"sample_spread": (0.1, 0.1), "coverage": (0.1, 0.0)}, "failing", "generated items are much alike"),
        ({"dead_units": (0.4, 0.45)}, "healthy", ""),
        ({"unexplained": (1.3, 0.97)}, "healthy", ""),
        ({"unexplained": (1.3, 1.1)}, "healthy", "reconstructions are no better than the mean item"),
        (
            {"unexplained": (1.3, 1.1), "loss": (60.0, 60.0)},
            "healthy",
            "reconstructions are no better than the mean item",
        ),
        ({"unexplained": (1.3, 1.1), "dead_units": (0.5, 0.7)}, "failing", "most units are dead"),
        ({"classes_made": (0.1, 0.3), "coverage": (0.1, 0.4)}, "failing", "much of the data is never generated"),
        ({"classes_made": (0.1, 0.6), "coverage": (0.1, 0.6)}, "healthy", ""),
    ],
)
def test_codes_and_players_have_signs_of_their_own(
    signs: dict[str, tuple[float, float]], verdict: str, what: str
) -> None:
    found = diagnose(rebuilding(**signs), CONFIG | {"method": METHODS[next(iter(signs))]})
    assert found.verdict == verdict
    assert [finding.what for finding in found.findings][:1] == ([what] if what else [])


def test_neighbours_excuse_dead_units_and_no_generator() -> None:
    """A GAN's neighbours are its discriminator's."""
    won = {"judged_real": (1.0, 1.0), "judged_fake": (1.0, 1.0), "coverage": (0.0, 0.0)}
    thriving = rebuilding(**won, dead_units=(0.9, 0.9), knn=(0.37, 0.9))
    gan, sparse = (diagnose(thriving, CONFIG | {"method": name}) for name in ("gan", "sparse_autoencoder"))
    assert [finding.sign for finding in gan.findings] == ["players", "coverage"]
    assert gan.verdict == "failing"
    assert sparse == Diagnosis("healthy", ())
    for probe in thriving["probes"]:
        probe["knn"] = 0.37
    assert [finding.sign for finding in diagnose(thriving, CONFIG | {"method": "sparse_autoencoder"}).findings] == [
        "units"
    ]


def test_a_generator_and_a_decoder_are_given_half_of_the_time() -> None:
    signs = {"sample_spread": (0.1, 0.1), "coverage": (0.0, 0.0), "unexplained": (1.3, 1.3), "classes_made": (0.1, 0.1)}
    signs |= {"judged_real": (1.0, 1.0), "judged_fake": (1.0, 1.0)}
    record = rebuilding(**signs)
    gan = CONFIG | {"method": "gan"}
    assert diagnose(record, gan | {"steps": 201}) == Diagnosis("healthy", ())  # of steps 100 and 120 one is late
    assert diagnose(record, gan | {"steps": 200}).verdict == "failing"


@pytest.mark.parametrize(("last", "verdict"), [(0.34, "healthy"), (0.31, "under-trained")])
def test_neighbours_within_two_standard_errors_of_the_baseline_are_not_worse(last: float, verdict: str) -> None:
    record = record_of(knn=(0.37, last))
    record["about"]["labelled"] = 500  # a standard error of 0.0216
    assert diagnose(record, CONFIG).verdict == verdict
