import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import salience
from salience.cli import main
from salience.data import open_data
from salience.errors import UserError
from salience.evaluation.detection import auroc
from salience.methods.autoencoders.autoencoder import Autoencoder
from salience.store import open_store
from salience.training import Interrupted, fit
from salience.verbs.anomalies import anomalies
from tests.store.conftest import DIGITS


def without(digits, label):
    return digits.subset(np.flatnonzero(digits.labels != label))


def scores_in_order(found, data):
    table = found.table.set_index("item")["score"]
    return table.loc[list(data.ids)].to_numpy()


def test_neighbours_are_the_nearest_others(pca, digits):
    few = digits.subset(range(120))
    found = anomalies(pca, few, score="neighbours", k=3, progress=False)
    codes = pca.embed(few).astype(np.float64)
    distances = np.linalg.norm(codes[:, None] - codes[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(scores_in_order(found, few), np.sort(distances, axis=1)[:, :3].mean(1), rtol=1e-4)


def test_items_that_are_ranked_alone_have_neighbours_among_the_ordinary(pca, digits):
    ordinary, ranked = digits.subset(range(0, 100)), digits.subset(range(90, 140))
    found = anomalies(pca, ordinary, test=ranked, score="neighbours", k=2, progress=False)
    codes, queries = pca.embed(ordinary).astype(np.float64), pca.embed(ranked).astype(np.float64)
    distances = np.linalg.norm(queries[:, None] - codes[None], axis=2)
    distances[np.arange(10), np.arange(90, 100)] = np.inf  # these are among the ordinary themselves
    np.testing.assert_allclose(scores_in_order(found, ranked), np.sort(distances, axis=1)[:, :2].mean(1), rtol=1e-4)


def test_reconstruction_is_the_error_of_the_rebuilt_item(autoencoder, digits):
    few = digits.subset(range(300))
    found = anomalies(autoencoder, few, progress=False)
    assert found.about["score"] == "reconstruction"
    x = few.x / 255
    expected = np.square(autoencoder.reconstruct(few).clip(0, 1) - x).mean((1, 2, 3))
    np.testing.assert_allclose(scores_in_order(found, few), expected, rtol=1e-4)


def test_likelihood_is_what_the_method_says(vae, digits):
    few = digits.subset(range(60))
    found = anomalies(vae, few, progress=False)
    assert found.about["score"] == "likelihood"
    np.testing.assert_allclose(scores_in_order(found, few), -vae.log_likelihood(few), rtol=1e-5)
    np.testing.assert_array_equal(vae.log_likelihood_batch(few.batch(np.array([7]))), vae.log_likelihood(few)[[7]])


def test_everything_is_in_the_folder_the_strangest_first(autoencoder, digits, tmp_path):
    few = digits.subset(range(50))
    found = anomalies(autoencoder, few, tmp_path / "out", progress=False)
    table = pd.read_csv(tmp_path / "out" / "items.csv", dtype={"label": str})
    assert list(table.columns) == ["rank", "item", "score", "label"]
    assert list(table["rank"]) == list(range(1, 51))
    assert table["score"].is_monotonic_decreasing
    row = int(table["item"][0])
    assert table["label"][0] == digits.classes[digits.labels[row]]
    assert json.loads((tmp_path / "out" / "anomalies.json").read_text())["about"]["score"] == "reconstruction"
    assert (tmp_path / "out" / "picture.png").exists()
    assert f"strangest: {row} (" in found.text()


def test_an_image_of_noise_is_found(autoencoder, digits):
    x = digits.x[:100].copy()
    x[42] = np.random.default_rng(0).integers(0, 255, x[42].shape)
    data = open_data(x, spec=autoencoder.spec, progress=False)
    assert anomalies(autoencoder, data, score="reconstruction", progress=False).table["item"][0] == "42"


@pytest.mark.parametrize("score", ["reconstruction", "likelihood", "neighbours"])
def test_the_farther_an_item_is_moved_the_stranger_it_is(vae, digits, score):
    few = digits.subset(range(200))
    noise = np.random.default_rng(0).normal(size=few.x.shape)
    levels = []
    for epsilon in (0.0, 0.1, 0.2, 0.4):
        moved = np.clip(few.x + 255 * epsilon * noise, 0, 255).astype(np.uint8)
        data = open_data(moved, spec=vae.spec, progress=False)
        levels.append(scores_in_order(anomalies(vae, few, test=data, score=score, progress=False), data))
    means = [level.mean() for level in levels]
    assert means == sorted(means)
    assert means[-1] > 1.1 * means[0]
    assert (levels[-1] > levels[0]).mean() > 0.9  # of nearly every single item


def test_a_class_left_out_of_the_training_is_found_and_said_to_be_new(digits, tmp_path):
    run = fit("pca", without(digits, 0), out=tmp_path / "run", dim=12, progress=False)
    found = anomalies(run, digits, tmp_path / "out", held_out="0", progress=False)
    strange = digits.labels == 0
    assert found.figures["auroc"] == auroc(scores_in_order(found, digits), strange)
    assert found.figures["auroc"].low > 0.8
    assert "the run was trained without '0'" in found.said
    stored = json.loads((tmp_path / "out" / "anomalies.json").read_text())
    assert stored["auroc"]["interval"][1] <= 1


def test_neighbours_of_a_held_out_class_are_none_of_its_own(pca, digits):
    held = anomalies(pca, digits, score="neighbours", held_out="0", progress=False)
    free = anomalies(pca, digits, score="neighbours", progress=False)
    strange = digits.labels == 0
    here, there = scores_in_order(held, digits), scores_in_order(free, digits)
    assert (here[strange] > there[strange]).mean() > 0.9
    assert held.figures["auroc"].value > 0.95


def test_items_without_a_label_are_neither_judged_nor_compared_with(pca, digits):
    labels = np.where(np.arange(len(digits)) % 3 == 0, -1, digits.labels)
    partly, known = replace(digits, labels=labels), np.flatnonzero(labels >= 0)
    found = anomalies(pca, partly, score="neighbours", held_out=0, progress=False)  # a number names a class too
    alone = anomalies(pca, partly.subset(known), score="neighbours", held_out="0", progress=False)
    assert found.figures["auroc"] == alone.figures["auroc"]
    np.testing.assert_array_equal(scores_in_order(found, partly)[known], scores_in_order(alone, partly.subset(known)))
    assert len(found.table) == len(digits)
    assert (
        f"note: {len(digits) - len(known)} items without a label: ranked, neither judged nor compared with"
        in found.said
    )
    apart = anomalies(pca, partly, test=partly, score="neighbours", held_out="0", progress=False)
    assert any(said.endswith("without a label: ranked, not judged") for said in apart.said)
    assert not any("without a label" in said for said in alone.said)


def test_ordinary_items_given_apart_are_compared_with_whether_they_have_a_label_or_not(pca, digits):
    labels = np.where(np.arange(100) % 2, -1, digits.labels[:100])
    ordinary, ranked = replace(digits.subset(range(100)), labels=labels), digits.subset(range(100, 150))
    found = anomalies(pca, ordinary, test=ranked, score="neighbours", held_out="0", k=2, progress=False)
    codes, queries = pca.embed(ordinary).astype(np.float64)[labels != 0], pca.embed(ranked).astype(np.float64)
    distances = np.linalg.norm(queries[:, None] - codes[None], axis=2)
    np.testing.assert_allclose(scores_in_order(found, ranked), np.sort(distances, axis=1)[:, :2].mean(1), rtol=1e-4)


def test_a_training_that_had_seen_the_class_is_named(pca, digits):
    found = anomalies(pca, digits, held_out="0", progress=False)
    assert any(said.startswith("warning: the run was trained on items of '0'") for said in found.said)


def test_what_the_training_had_seen_is_looked_for_where_it_lies(digits, tmp_path):
    np.save(tmp_path / "all.npy", digits.x[:200])
    kept = digits.labels[:200] != 3
    np.save(tmp_path / "kept.npy", digits.x[:200][kept])
    labelled = open_data(digits.x[:200], labels=digits.labels[:200], progress=False)
    for name, complaint in (("all", "warning: the run was trained on 2"), ("kept", "the run was trained without '3'")):
        run = fit("pca", str(tmp_path / f"{name}.npy"), out=tmp_path / name, dim=5, progress=False)
        ranked = open_data(digits.x[:200], labels=digits.labels[:200], spec=run.spec, progress=False)
        said = anomalies(run, ranked, held_out="3", progress=False).said
        assert any(one.startswith(complaint) for one in said) or labelled.fingerprint == ranked.fingerprint, said


def test_where_nothing_is_known_of_the_training_it_is_said(pca, digits, tmp_path):
    elsewhere = fit("pca", digits.subset(range(5, 400)), out=tmp_path / "run", dim=5, progress=False)
    said = anomalies(elsewhere, digits, held_out="3", progress=False).said
    assert any(one.startswith("note: whether the run was trained on items of '3' is not known") for one in said)


def test_rows_of_a_table(tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(80, 2)) @ generator.normal(size=(2, 4)), columns=list("abcd"))
    frame.loc[13] = frame.loc[13] + [9.0, -9.0, 9.0, 9.0]
    frame["kind"] = np.where(np.arange(80) % 10 == 3, "odd", "even")
    data = open_data(frame, labels="kind", progress=False)
    run = fit("pca", data, out=tmp_path / "run", dim=2, progress=False)
    found = anomalies(run, data, tmp_path / "out", score="neighbours", held_out="odd", progress=False)
    assert found.table["item"][0] == "13"
    assert (tmp_path / "out" / "picture.png").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"score": "gut feeling"}, "score: 'gut feeling' is not one of likelihood, reconstruction, neighbours"),
        ({"score": "likelihood"}, "score: pca cannot score by likelihood; fit one of the methods that can: .*vae"),
        ({"held_out": "eleven"}, "held_out: digits has no class 'eleven'"),
        ({"k": 0}, "k: 0 is not a whole number of at least 1"),
        ({"k": 2.5, "score": "neighbours"}, "k: 2.5 is not a whole number of at least 1"),
        ({"k": 5000, "score": "neighbours"}, "k: 5000 neighbours among 1797 ordinary items"),
        ({"test": "nowhere"}, "test: nowhere does not exist"),
    ],
)
def test_mistakes_name_the_argument(pca, digits, options, complaint):
    with pytest.raises(UserError, match=complaint):
        anomalies(pca, digits, progress=False, **options)


def test_a_held_out_class_needs_others_beside(pca, digits):
    with pytest.raises(UserError, match="requires at least two classes"):
        anomalies(pca, digits.subset(np.flatnonzero(digits.labels == 1)), held_out="1", progress=False)


# --- of a store -----------------------------------------------------------------------------------------------------


def mean_cosine_distance(x, k, others=None):
    """[n], by NumPy in float64: to the k nearest of the others, itself left out."""
    x = x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True)
    distance = 1 - x @ x.T
    np.fill_diagonal(distance, np.inf)
    if others is not None:
        distance[:, np.setdiff1d(np.arange(len(x)), others)] = np.inf
    return np.sort(distance, axis=1)[:, :k].mean(1)


@pytest.mark.parametrize("given", ["store", "path", "text"])
def test_items_of_a_store_by_the_distance_to_the_nearest_others(store, given):
    found = anomalies({"store": store, "path": store.path, "text": str(store.path)}[given], k=4, progress=False)
    expected = mean_cosine_distance(DIGITS.data[:400], 4)
    np.testing.assert_allclose(open_store(store.path).column("anomaly"), expected, atol=2e-6)
    assert found.table["score"].is_monotonic_decreasing
    assert found.table["item"][0] == f"digit-{expected.argmax():04d}"
    assert found.table["label"][0] == str(DIGITS.target[expected.argmax()])


def test_a_class_held_out_of_a_store_is_no_neighbour(store):
    found = anomalies(store, held_out="4", progress=False)
    strange = DIGITS.target[:400] == 4
    expected = mean_cosine_distance(DIGITS.data[:400], 5, np.flatnonzero(~strange))
    np.testing.assert_allclose(store.column("anomaly"), expected, atol=2e-6)
    assert found.figures["auroc"].value == pytest.approx(auroc(expected, strange).value, abs=1e-3)
    assert any("whether the run was trained on items of '4' is not known" in said for said in found.said)


def test_items_of_a_store_without_a_label_are_neither_judged_nor_compared_with(store):
    labels = [None if row % 3 == 0 else str(label) for row, label in enumerate(DIGITS.target[:400])]
    store.write_columns({"label": labels})
    found = anomalies(store, held_out="4", progress=False)
    known, strange = np.arange(400) % 3 > 0, DIGITS.target[:400] == 4
    expected = mean_cosine_distance(DIGITS.data[:400], 5, np.flatnonzero(known & ~strange))
    np.testing.assert_allclose(store.column("anomaly"), expected, atol=2e-6)
    assert found.figures["auroc"].value == pytest.approx(auroc(expected[known], strange[known]).value, abs=1e-3)
    assert "note: 134 items without a label: ranked, neither judged nor compared with" in found.said


def test_items_of_a_large_store_are_compared_with_some(store, monkeypatch):
    monkeypatch.setattr("salience.verbs.outliers.MOST_OTHERS", 50)
    found = anomalies(store, k=3, progress=False)
    assert "compared with 50 of 400 items, drawn at random" in found.said
    others = np.sort(np.random.default_rng(0).choice(np.arange(400), 50, replace=False))
    np.testing.assert_allclose(store.column("anomaly"), mean_cosine_distance(DIGITS.data[:400], 3, others), atol=2e-6)


def test_of_a_store_everything_is_in_the_folder(store, make_store, tmp_path):
    found = anomalies(store, out=tmp_path / "out", progress=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"anomalies.json", "items.csv", "picture.png"}
    assert found.about["column"] == "anomaly"
    bare = anomalies(make_store(40, "bare", pictures=False), out=tmp_path / "bare", progress=False)
    assert "written: " in bare.text()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"source": "digits"}, "source: a store's own items are ranked"),
        ({"test": "digits"}, "test: a store's own items are ranked"),
        ({"labels": "kind"}, "labels: a store's own items are ranked"),
        ({"score": "reconstruction"}, "score: a store's own items are ranked, by their embeddings alone"),
        ({"held_out": "eleven"}, "held_out: digits.lance has no label 'eleven'; its labels are: 0, 1"),
        ({"k": 0}, "k: 0 is not a whole number of at least 1"),
        ({"k": 400}, "k: 400 neighbours among 400 ordinary items; take fewer"),
    ],
)
def test_what_does_not_fit_a_store_is_refused(store, options, complaint):
    with pytest.raises(UserError, match=f"^{complaint}"):
        anomalies(store, progress=False, **options)
    assert "anomaly" not in store.columns


def test_a_class_that_is_all_there_is(store):
    store.write_columns({"label": ["one"] * 400})
    with pytest.raises(UserError, match=r"^held_out: .* has items of 'one' only"):
        anomalies(store, held_out="one")


def test_a_score_that_fits_may_be_named(store):
    assert anomalies(store, score="neighbours", progress=False).about["score"] == "neighbours"


def test_a_run_on_data_in_memory_needs_a_source(pca):
    with pytest.raises(UserError, match=r"^source: none was given, and the run was fitted to data in memory; give"):
        anomalies(pca)


def test_a_store_as_a_command(store, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["anomalies", str(store.path)]) == 0
    assert "strangest: digit-" in capsys.readouterr().out
    assert (tmp_path / "runs" / "anomalies-1" / "picture.png").exists()
    assert main(["anomalies", "nowhere.lance"]) == 2
    assert "nowhere.lance does not exist; write one with: salience embed" in capsys.readouterr().err
    assert main(["anomalies", str(store.path), "digits"]) == 2
    assert "SOURCE: a store's own items are ranked" in capsys.readouterr().err


def test_a_run_fitted_without_a_class_is_known_to_have_been(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["fit", "pca", "digits", "--dim", "8", "--without", "0", "--out", run]) == 0
    fitted = salience.load(run)
    numbered = fit("pca", "digits", dim=8, without=0, out=tmp_path / "numbered", progress=False)
    assert numbered.config.data.without == fitted.config.data.without == "0"
    data = salience.open_data("digits", progress=False)
    rest = data.subset(np.flatnonzero(data.labels != data.classes.index("0")))
    assert (fitted.config.data.rows, fitted.config.data.fingerprint) == (len(rest), rest.fingerprint)
    assert fitted.open_trained("digits").fingerprint == rest.fingerprint
    capsys.readouterr()
    assert main(["anomalies", run, "digits", "--held-out", "0"]) == 0
    assert "the run was trained without '0'" in capsys.readouterr().out
    for rows, held_out, said in (
        (np.arange(300), "0", "the run was trained without '0'"),  # its config says so
        (np.arange(len(data)), "1", "warning: the run was trained on items of '1'"),
    ):
        told = anomalies(fitted, data.subset(rows), held_out=held_out, progress=False).said[-1]
        assert told.startswith(said)


def test_ordinary_items_may_be_of_one_class(autoencoder):
    data = salience.open_data("digits", progress=False)
    ones, mixed = data.subset(np.flatnonzero(data.labels == 1)), data.subset(np.arange(300))
    for score in ("neighbours", "reconstruction"):
        found = anomalies(autoencoder, ones, test=mixed, held_out="0", score=score, progress=False)
        assert 0 <= found.figures["auroc"].value <= 1


def test_a_class_that_is_not_there_cannot_be_left_out(tmp_path):
    with pytest.raises(UserError, match=r"^without: digits has no class 'zero'; its classes are: 0, 1, 2"):
        salience.fit("pca", "digits", out=tmp_path / "none", without="zero", progress=False)
    assert not (tmp_path / "none").exists()


def test_a_fit_without_a_class_goes_on_without_it(tmp_path, monkeypatch):
    settings = {"encoder": "linear", "dim": 4, "epochs": 4, "without": "3", "progress": False}
    whole = salience.fit("autoencoder", "digits", out=tmp_path / "whole", **settings)
    train = Autoencoder.loss

    def interrupted(self, batch, at):
        if at.step == 9:
            raise KeyboardInterrupt
        return train(self, batch, at)

    monkeypatch.setattr(Autoencoder, "loss", interrupted)
    with pytest.raises(Interrupted):
        salience.fit("autoencoder", "digits", out=tmp_path / "run", **settings)
    monkeypatch.undo()
    resumed = salience.resume(tmp_path / "run", progress=False)
    for name, value in whole.method.state_dict().items():
        assert torch.equal(value, resumed.method.state_dict()[name])
