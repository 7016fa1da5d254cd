"""What every verb passes on and tells: readings, seeds, what was used, defaults, and both ends of what it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import salience
from salience.data import open_data
from salience.errors import UserError
from salience.reading import Reading
from salience.store import open_store
from salience.training import fit
from tests.evaluation.conftest import Projection, blobs

STRETCH = Reading(aspect="stretch")


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch):
    monkeypatch.setattr("salience.verbs.interpolate.PAIRS", 4)


VERBS = {
    "anomalies": ("pca", {}),
    "arithmetic": ("pca", {"add": "cat", "subtract": "dog"}),
    "denoise": ("pca", {}),
    "interpolate": ("pca", {}),
    "reconstruct": ("pca", {}),
    "sample": ("vae", {"n": 3}),
    "super_resolve": ("conditional_gan", {}),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_source_is_read_as_it_is_said_and_else_as_in_training(verb, runs, photos):
    method, options = VERBS[verb]
    run = runs[method]
    found = [
        getattr(salience, verb)(run, photos, progress=False, **options, **how)
        for how in ({}, {"reading": STRETCH}, {"reading": Reading(aspect="crop")})
    ]
    expected = [run.open(photos, reading=how).fingerprint for how in (Reading(), STRETCH, Reading(aspect="crop"))]
    assert [one.about["fingerprint"] for one in found] == expected
    assert expected[0] == expected[2] != expected[1]


def test_what_is_denoised_or_enlarged_as_it_is_is_read_as_it_is_said(runs, photos):
    readings, pca = (Reading(), STRETCH), runs["pca"]
    found = [salience.denoise(pca, photos, noisy=True, progress=False, reading=how) for how in readings]
    assert found[0].about["fingerprint"] != found[1].about["fingerprint"]
    assert not np.array_equal(found[0].arrays["denoised"], found[1].arrays["denoised"])
    flat = Reading(folders="flat")
    for how, count in ((Reading(), 24), (flat, 24)):
        made = salience.super_resolve(runs["conditional_gan"], photos, as_is=True, progress=False, reading=how)
        assert made.arrays["enlarged"].shape == (count, 1, 16, 32)


def test_both_sources_of_anomalies_are_read_as_it_is_said(runs, photos):
    run = runs["pca"]
    plain = salience.anomalies(run, photos, test=photos, score="neighbours", progress=False)
    found = salience.anomalies(run, photos, test=photos, score="neighbours", reading=STRETCH, progress=False)
    x = run.embed(run.open(photos, reading=STRETCH)).astype(np.float64)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    expected = np.sort(np.sort(distance, axis=1)[:, :5].mean(1))[::-1]
    np.testing.assert_allclose(found.table["score"], expected, rtol=1e-4)
    assert not np.allclose(plain.table["score"], found.table["score"])


def test_what_is_written_predicted_described_and_previewed_is_read_as_it_is_said(runs, photos, tmp_path):
    import pyarrow.parquet as pq

    run = runs["pca"]
    lines = [f"{name}/{number:02}.png,{name}\n" for name in ("cat", "dog") for number in range(4)]
    (tmp_path / "labels.csv").write_text("item,label\n" + "".join(lines))
    vectors, confidence = [], []
    for number, how in enumerate((Reading(), STRETCH)):
        data = run.open(photos, reading=how)
        path = salience.embed_to(run, photos, tmp_path / f"{number}.parquet", reading=how, progress=False)
        vectors.append(np.stack(pq.read_table(path)["vector"].to_numpy(zero_copy_only=False)))
        np.testing.assert_allclose(vectors[-1], run.embed(data), atol=1e-5)
        store = salience.embed_to(run, photos, tmp_path / f"{number}.lance", reading=how, progress=False)
        np.testing.assert_allclose(open_store(store).vectors(), vectors[-1], atol=1e-5)
        found = salience.predict(run, photos, tmp_path / "labels.csv", reading=how, progress=False)
        confidence.append(found["confidence"].to_numpy())
    assert not np.allclose(vectors[0], vectors[1])
    assert not np.allclose(confidence[0], confidence[1])
    mixed = tmp_path / "mixed"
    for split in ("train", "test"):
        (mixed / split).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 9 + len(split), np.uint8)).save(mixed / split / "a.png")
    classes = Reading(folders="classes")
    told = salience.describe(mixed, mixed, reading=classes, progress=False)
    assert (told.classes, told.leakage.items, told.leakage.share) == ({"test": 1, "train": 1}, 2, 1)
    pictures = [
        Path(salience.preview("pca", photos, tmp_path / f"{number}.png", items=1, reading=how)).read_bytes()
        for number, how in enumerate((Reading(), STRETCH))
    ]
    assert pictures[0] != pictures[1]


ABOUT = {
    "anomalies": {"score", "means", "held_out", "ordinary"},
    "arithmetic": {"neighbours", "strengths", "add", "subtract", "changed", "judge", "seed"},
    "denoise": {"noise", "level", "seed", "judged", "fitted", "pca_components", "wiener_window", "wiener_power"},
    "interpolate": {"start", "end", "steps", "seed", "features", "pairs", "between", "neighbours", "real"},
    "reconstruct": {"dim", "seed"},
    "sample": {"n", "seed", "features", "compared", "rounds"},
    "super_resolve": {"factor", "seed"},
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_was_used_is_told_and_written(verb, runs, photos, tmp_path):
    method, options = VERBS[verb]
    run = runs[method]
    seed = {} if verb == "anomalies" else {"seed": 5}
    found = getattr(salience, verb)(run, photos, tmp_path / "out", progress=False, **options, **seed)
    about = found.about
    always = {"method": method, "run": str(run.run), "on": "photos", "items": 24}
    assert {name: about[name] for name in always} == always
    assert set(about) == {*always, "fingerprint", *ABOUT[verb]}
    assert verb == "anomalies" or about["seed"] == 5
    (written,) = (tmp_path / "out").glob("*.json")
    assert written.stem == verb.replace("_", "-") == found.verb
    stored = json.loads(written.read_text())
    assert stored["about"] == json.loads(json.dumps(about))
    assert stored["said"] == list(found.said)
    assert found.folder == tmp_path / "out"
    assert found.text().splitlines()[0] == f"{found.verb}: {method} on photos, 24 items"
    assert found.text().splitlines()[-1] == f"picture: {tmp_path / 'out' / 'picture.png'}"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "anomalies"])
@pytest.mark.parametrize("seed", [-1, 1.5, "x"])
def test_a_seed_that_is_none_is_refused_before_anything_is_made(verb, seed, runs, photos, tmp_path):
    method, options = VERBS[verb]
    with pytest.raises(UserError, match=f"^seed: {seed} is not a whole number"):
        getattr(salience, verb)(runs[method], photos, tmp_path / "out", seed=seed, progress=False, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_named_by_its_folder_too(runs, photos):
    for verb, (method, options) in VERBS.items():
        found = getattr(salience, verb)(str(runs[method].run), photos, progress=False, **options)
        assert found.about["method"] == method


SEEN = "note: the run was trained on the items of the evaluation; use a source that it was not trained on"


@pytest.mark.parametrize("verb", ["denoise", "reconstruct", "super_resolve"])
def test_that_a_run_is_judged_by_what_it_was_trained_on_is_told(verb, runs, photos):
    method, options = VERBS[verb]
    run, call = runs[method], getattr(salience, verb)
    assert SEEN in call(run, run.open(photos), progress=False, **options).said
    assert SEEN not in call(run, run.open(photos).subset(range(1, 24)), progress=False, **options).said


# --- defaults and both ends -----------------------------------------------------------------------------------------


def test_what_is_taken_where_nothing_is_said(runs, photos, tmp_path):
    pca, vae = runs["pca"], runs["vae"]
    data = pca.open(photos)
    found = salience.interpolate(pca, data, progress=False)
    assert (found.about["steps"], found.arrays["linear"].shape[0], found.about["seed"]) == (9, 9, 0)
    assert salience.sample(vae, progress=False).arrays["samples"].shape[0] == 64
    near = salience.anomalies(pca, data, score="neighbours", progress=False)
    five = salience.anomalies(pca, data, score="neighbours", k=5, progress=False)
    assert near.table.equals(five.table)
    assert near.about["means"] == "the mean distance to the nearest 5 embeddings of ordinary items"
    assert salience.anomalies(pca, data, progress=False).about["score"] == "reconstruction"
    assert salience.anomalies(vae, data, progress=False).about["score"] == "likelihood"
    told = salience.denoise(pca, data, progress=False).about
    assert (told["noise"], told["level"], told["seed"]) == ("gaussian", 0.3, 0)
    levels = [
        salience.denoise(pca, data, noise=name, progress=False).about["level"]
        for name in ("masking", "salt-and-pepper")
    ]
    assert levels == [0.25, 0.1]
    for verb, (method, options) in VERBS.items():
        if verb in ("reconstruct", "super_resolve", "arithmetic"):
            assert getattr(salience, verb)(runs[method], photos, progress=False, **options).about["seed"] == 0


@pytest.mark.parametrize(
    ("noise", "level", "fits"),
    [
        ("gaussian", 10, True), ("gaussian", 10.1, False), ("gaussian", 1e-3, True), ("gaussian", 0, False),
        ("gaussian", -0.1, False), ("masking", 1, True), ("masking", 1.01, False), ("salt-and-pepper", 1, True),
        ("salt-and-pepper", 1.01, False), ("salt-and-pepper", 0, False), ("masking", float("nan"), False),
        ("snow", 0.1, False),
    ],
)  # fmt: skip
def test_both_ends_of_noise(runs, photos, noise, level, fits):
    if fits:
        assert salience.denoise(runs["pca"], photos, noise=noise, level=level, progress=False).about["level"] == level
    else:
        with pytest.raises(UserError, match="^noise: " if noise == "snow" else "^level: "):
            salience.denoise(runs["pca"], photos, noise=noise, level=level, progress=False)


@pytest.mark.parametrize("given", [{"noise": "masking"}, {"level": 0.1}, {"level": 0.0}])
def test_nothing_is_added_to_what_is_noisy(runs, photos, given):
    with pytest.raises(
        UserError, match=f"^{next(iter(given))}: no noise is added to a noisy source; leave this option out"
    ):
        salience.denoise(runs["pca"], photos, noisy=True, progress=False, **given)


@pytest.mark.parametrize(
    ("verb", "count", "options", "complaint"),
    [
        ("interpolate", 9, {}, "source: .* has 9 items, too few for neighbours"),
        ("interpolate", 10, {}, None),
        ("interpolate", 24, {"steps": 2}, "steps: 2 is not a whole number of at least 3"),
        ("interpolate", 24, {"steps": 3}, None),
        ("sample", 19, {}, "source: .* has 19 items, too few to compare with; give 20 or more"),
        ("sample", 20, {}, None),
        ("anomalies", 6, {"score": "neighbours"}, None),
        ("anomalies", 5, {"score": "neighbours"}, "k: 5 neighbours among 5 ordinary items; take fewer"),
        ("anomalies", 5, {"score": "neighbours", "k": 4}, None),
        ("anomalies", 5, {"score": "neighbours", "k": 0}, "k: "),
        ("anomalies", 5, {"score": "neighbours", "k": 1}, None),
        ("denoise", 1, {}, "source: .* has 1 item, too few"),
        ("super_resolve", 1, {}, None),
        ("reconstruct", 1, {}, None),
    ],
)
def test_how_few_items_and_steps_a_verb_takes(runs, photos, verb, count, options, complaint):
    method, usual = VERBS[verb]
    data = runs[method].open(photos).subset(range(count))
    call = getattr(salience, verb)
    if complaint is None:
        assert call(runs[method], data, progress=False, **{**usual, **options}).about["items"] == count
    else:
        with pytest.raises(UserError, match=f"^{complaint}"):
            call(runs[method], data, progress=False, **{**usual, **options})


def test_interpolation_and_arithmetic_are_of_images(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 3))
    run = fit("pca", x, out=tmp_path / "run", dim=2, progress=False)
    data = open_data(x, labels=np.arange(30) % 2, spec=run.spec, progress=False)
    for call in (
        lambda: salience.interpolate(run, data, progress=False),
        lambda: salience.arithmetic(run, data, add="0", subtract="1", progress=False),
    ):
        with pytest.raises(UserError, match=r"^source: (interpolate|arithmetic) is for images, .* is table data"):
            call()


def test_items_are_named_by_id_or_row_and_drawn_by_the_seed(runs, photos):
    pca = runs["pca"]
    by_id = salience.interpolate(pca, photos, start="cat/03.png", end="dog/05.png", progress=False)
    by_row = salience.interpolate(pca, photos, start=3, end=17, progress=False)
    assert by_row.about["start"] == by_id.about["start"] == "cat/03.png"
    assert by_row.about["end"] == by_id.about["end"] == "dog/05.png"
    np.testing.assert_array_equal(by_id.arrays["linear"], by_row.arrays["linear"])
    ends = [salience.interpolate(pca, photos, seed=seed, progress=False).about for seed in range(6)]
    assert len({(one["start"], one["end"]) for one in ends}) > 3
    assert all(one["start"][:3] != one["end"][:3] for one in ends)
    for row, name in ((23, "dog/11.png"), (0, "cat/00.png")):
        found = salience.arithmetic(pca, photos, add="cat", subtract="dog", item=row, progress=False)
        assert found.table["item"].tolist() == [name]
    for row in (24, -1, "9" * 30):
        with pytest.raises(UserError, match=r"^item: "):
            salience.arithmetic(pca, photos, add="cat", subtract="dog", item=row, progress=False)
        with pytest.raises(UserError, match=r"^start: "):
            salience.interpolate(pca, photos, start=row, progress=False)
        with pytest.raises(UserError, match=r"^end: "):
            salience.interpolate(pca, photos, end=row, progress=False)


def test_a_judge_is_named_and_another_runs_features_are_used(runs, photos, tmp_path):
    pca, vae = runs["pca"], runs["vae"]
    for verb, run in (("interpolate", pca), ("sample", vae)):
        call = getattr(salience, verb)
        usual, own = (call(run, photos, progress=False, **how) for how in ({}, {"features": pca}))
        assert usual.about["features"] == "an untrained convnet (seed 0)"
        assert own.about["features"] == f"the embedding of pca in {pca.run}"
        assert usual.figures != own.figures
        named = call(run, photos, features=str(pca.run), progress=False)
        assert named.figures == own.figures
        with pytest.raises(UserError, match=r"^features: nowhere does not exist"):
            call(run, photos, features="nowhere", progress=False)


def test_preview_draws_six_items_six_times_and_refuses_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = open_data("digits", progress=False).subset(range(20))
    usual = salience.preview("simclr", data, tmp_path / "usual.png", views="glyphs")
    six = salience.preview("simclr", data, tmp_path / "six.png", views="glyphs", items=6, draws=6, seed=0)
    five = salience.preview("simclr", data, tmp_path / "five.png", views="glyphs", items=5)
    assert usual.read_bytes() == six.read_bytes() != five.read_bytes()
    for name in ("items", "draws"):
        salience.preview("simclr", data, tmp_path / f"{name}.png", views="glyphs", **{name: 1})
        with pytest.raises(UserError, match=f"^{name}: 0 is not a whole number of at least 1"):
            salience.preview("simclr", data, tmp_path / "none.png", **{name: 0})
    with pytest.raises(UserError, match=r"^seed: "):
        salience.preview("simclr", data, tmp_path / "none.png", seed=-1)
    with pytest.raises(UserError, match=r"^source: .* learns from .*image.* data"):
        salience.preview("conditional_gan", np.eye(9), tmp_path / "none.png")
    memory = salience.preview("pca", data)
    assert memory == Path("views-pca-memory.png")
    assert salience.preview("pca", data) == memory  # the default may be overwritten
    for ending in ("svg", "pdf"):
        assert salience.preview("pca", data, tmp_path / f"new/a.{ending}", items=1).exists()


@pytest.mark.parametrize(("progress", "told"), [(True, True), (False, False)])
def test_what_embed_to_did_is_told_only_with_progress(runs, photos, tmp_path, capsys, progress, told):
    run = runs["pca"]
    for out in ("a.parquet", "a.lance"):
        salience.embed_to(run, photos, tmp_path / out, progress=progress)
        said = capsys.readouterr()
        assert ("note: " in said.err) is told
        assert said.out == ""
        assert told or said.err == ""


def test_a_shard_is_of_a_store_alone(runs, photos, tmp_path):
    with pytest.raises(UserError, match=r"^shard: a Parquet file is written by one process; name a store, NAME\.lance"):
        salience.embed_to(runs["pca"], photos, tmp_path / "a.parquet", shard="1/2", progress=False)
    with pytest.raises(UserError, match=r"^shard: "):
        salience.embed_to(runs["pca"], photos, tmp_path / "a.lance", shard="3/2", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_predictions_are_written_to_new_files_alone_in_new_folders_too(tmp_path):
    (tmp_path / "labels.csv").write_text("item,label\n0,a\n1,b\n3,a\n4,b\n")
    out = tmp_path / "new" / "out.csv"
    found = salience.predict(Projection(), blobs(30), tmp_path / "labels.csv", out, progress=False)
    lines = (tmp_path / "new" / "out.csv").read_text().splitlines()
    assert lines[0] == "item,predicted,confidence"
    assert len(lines) == 31
    first = found.iloc[0]
    assert lines[1] == f"{first['item']},{first['predicted']},{first['confidence']:.4f}"
    with pytest.raises(UserError, match="exists"):
        salience.predict(Projection(), blobs(30), tmp_path / "labels.csv", out, progress=False)


def test_a_ranking_tells_labels_where_there_are_any(runs, photos):
    data = runs["pca"].open(photos)
    partly = replace(data, labels=np.where(np.arange(24) % 3 == 0, -1, data.labels))
    table = salience.anomalies(runs["pca"], partly, progress=False).table
    assert table["rank"].tolist() == list(range(1, 25))
    label_of = dict(zip(table["item"], table["label"].astype(object).where(table["label"].notna(), None), strict=True))
    assert label_of == {id: None if row % 3 == 0 else id[:3] for row, id in enumerate(data.ids)}
    bare = salience.anomalies(runs["pca"], replace(data, labels=None, classes=()), progress=False).table
    assert list(bare.columns) == ["rank", "item", "score"]


def test_the_strangest_five_are_named_with_their_scores(runs, photos):
    found = salience.anomalies(runs["pca"], photos, progress=False)
    rows = [*found.table.itertuples(index=False)][:5]
    assert f"strangest: {', '.join(f'{one.item} ({one.score:.3g})' for one in rows)}" in found.said
    assert found.said[0] == f"score: {found.about['means']}"
    assert found.about["ordinary"] == "photos"
