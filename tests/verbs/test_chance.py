"""What is random in a verb: the seed, and nothing else, says how it comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import salience
from salience.verbs import demo as demonstration
from salience.verbs.result import Result


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("salience.verbs.interpolate.PAIRS", 2)
    monkeypatch.setattr("salience.verbs.sample.ROUNDS", 1)


def drawn(found: Result) -> list[Any]:
    """The samples, and what they are compared with: a half of the real items and what is made of the other."""
    return [found.arrays["samples"].tolist(), *(one for name, one in found.figures.items() if name != "the samples")]


ENDS = {"start": "cat/00.png", "end": "dog/00.png"}
RANDOM: dict[str, tuple[str, str, dict[str, Any], Callable[[Result], list[Any]]]] = {
    "arithmetic": ("arithmetic", "pca", {"add": "cat", "subtract": "dog"}, lambda found: [set(found.table["item"])]),
    "ends of a path": ("interpolate", "pca", {}, lambda found: [found.about["start"], found.about["end"]]),
    "pairs that paths are judged by": ("interpolate", "pca", ENDS, lambda found: list(found.figures.values())),
    "samples": ("sample", "vae", {"n": 2}, drawn),
    "denoising": ("denoise", "pca", {}, lambda found: [set(found.table["item"])]),
}


@pytest.mark.parametrize("what", RANDOM)
def test_the_seed_says_how_what_is_random_comes_out(what, runs, photos):
    verb, method, options, of = RANDOM[what]
    options = options | ({"features": runs["pca"]} if verb in ("interpolate", "sample") else {})
    found = [
        of(getattr(salience, verb)(runs[method], photos, seed=seed, progress=False, **options)) for seed in (1, 1, 2)
    ]
    for first, again, other in zip(*found, strict=True):
        assert first == again != other


def test_the_seed_says_what_the_noise_of_an_item_is(runs, photos):
    """Of the items that are judged whatever the seed is."""
    errors = [
        salience.denoise(runs["pca"], photos, seed=seed, progress=False).table.set_index("item")["noisy mse"]
        for seed in range(6)
    ]
    common = [item for item in errors[0].index if any(item in one.index for one in errors[1:])]
    assert common
    for item in common:
        found = [one[item] for one in errors if item in one.index]
        assert len(set(found)) == len(found)


@pytest.fixture
def asked(monkeypatch) -> dict[str, Any]:
    """What the demonstration fits and evaluates, without doing so."""
    found: dict[str, Any] = {}

    def fitted(method, data, **options):
        found.update(method=method, fitted=data, options=options)
        return "the run"

    def evaluated(run, train, test, **options):
        found.update(run=run, train=train, test=test)
        return SimpleNamespace(text=lambda: "the table")

    monkeypatch.setattr(demonstration, "fit", fitted)
    monkeypatch.setattr(demonstration, "evaluate", evaluated)
    return found


def test_the_demonstration_judges_by_the_fifth_that_it_did_not_fit(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = demonstration.demo(progress=False)
    assert (asked["method"], asked["run"], asked["options"]["out"]) == ("simclr", "the run", Path("runs/demo-1"))
    assert asked["train"] is asked["fitted"]
    train, test = (set(asked[name].ids) for name in ("train", "test"))
    assert (len(train | test), len(train & test)) == (1797, 0)
    assert 0.19 < len(test) / 1797 < 0.21
    assert said == f"the table\n\nreport: {Path('runs/demo-1/report.html')}"
    demonstration.demo(tmp_path / "mine", progress=False)
    assert asked["options"]["out"] == tmp_path / "mine"
