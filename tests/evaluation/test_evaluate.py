import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from salience import run_data
from salience.errors import Note, UserError
from salience.evaluation import evaluate, figures, gallery, protocol
from salience.evaluation.retrieval import retrieval_values
from salience.evaluation.row_choice import choose_rows
from salience.measures.embedding_geometry import effective_rank
from salience.measures.raw_features import raw_features
from salience.modalities.table.spec import Column, TableSpec

from .conftest import Projection, blobs, config_of

FAMILIES = {"knn", "linear", "few_label", "clustering", "retrieval", "geometry"}


@pytest.fixture(scope="module")
def report():
    return evaluate(Projection(), blobs(240, noise=60.0), progress=False)


def metrics_in(measures):
    for value in measures.values():
        if "value" in value:
            yield value
        else:
            yield from metrics_in(value)


def test_json_has_the_promised_shape(report):
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(found["baselines"]) == {"raw", "pca", "untrained"}
    for measures in [found["representation"], *found["baselines"].values()]:
        assert set(measures) == FAMILIES
        assert set(measures["knn"]) == set(measures["linear"]) == {"accuracy", "balanced_accuracy"}
        assert list(measures["few_label"])[:4] == ["1", "2", "5", "10"]
        assert "accuracy" in measures["few_label"]["5"]
        for metric in metrics_in(measures):
            low, high = metric["interval"]
            assert low <= metric["value"] <= high
    assert set(found["intervals"]) == FAMILIES
    assert isinstance(found["cost"], dict)
    assert any("a fifth" in note for note in found["notes"])


@pytest.mark.parametrize(("rows", "expected"), [(30, ["1", "2", "5"]), (33, ["1", "2", "5", "10"])])
def test_few_labels_are_fewer_than_a_class_has_so_that_draws_differ(rows, expected):
    test = blobs(60, seed=1, split="test", fingerprint="test")
    found = evaluate(Projection(), blobs(rows), test, progress=False)
    assert list(found.representation["few_label"]) == expected


def test_figures_tell_good_features_from_useless_ones():
    data = blobs(240, noise=30.0)
    good, bad = Projection(), Projection()
    bad.matrix = np.zeros_like(bad.matrix)
    bad.matrix[0, 0] = 1e-3  # one pixel is all it sees
    good, bad = (evaluate(rep, data, progress=False).representation for rep in (good, bad))
    for family, metric in [
        ("knn", "accuracy"),
        ("linear", "accuracy"),
        ("clustering", "nmi"),
        ("retrieval", "map_at_r"),
    ]:
        assert good[family][metric].value > bad[family][metric].value + 0.1
    assert good["few_label"]["5"]["accuracy"].value > bad["few_label"]["5"]["accuracy"].value + 0.1
    assert good["geometry"]["effective_rank"].value > bad["geometry"]["effective_rank"].value + 1


def test_features_are_computed_once():
    rep = Projection()
    evaluate(rep, blobs(240), progress=False)
    assert sorted(rep.embedded) == [48, 48, 48, 192]  # test, its two views, train


def test_raw_and_representation_share_their_label_draws(report):
    same = Projection(16)
    same.matrix = np.eye(16, dtype=np.float32)
    gains = evaluate(same, blobs(240), progress=False).gains["raw"]
    assert all(metrics["accuracy"].to_dict() == {"value": 0.0, "interval": [0.0, 0.0]} for metrics in gains.values())
    ours, theirs = (report.columns[name]["few_label"]["5"]["accuracy"].value for name in ("representation", "pca"))
    assert report.gains["pca"]["5"]["accuracy"].value == pytest.approx(ours - theirs)


def test_a_closed_form_has_no_untrained_baseline():
    report = evaluate(Projection(trains=False), blobs(), progress=False)
    assert report.to_dict()["baselines"]["untrained"] is None
    assert any("no untrained encoder" in note for note in report.notes)
    assert "untrained" not in report.table()


def test_unlabelled_data_gives_geometry_alone(tmp_path):
    report = evaluate(Projection(run=make_run(tmp_path)), blobs(labels=False), progress=False)
    found = report.to_dict()
    for measures in [found["representation"], *found["baselines"].values()]:
        assert set(measures) == {"geometry"}
    assert {"effective_rank", "uniformity", "alignment", "std_mean"} <= set(found["representation"]["geometry"])
    assert found["gains"] == {"raw": None, "pca": None, "untrained": None}
    assert report.verdict() == ""
    assert "effective rank" in report.text()
    assert (tmp_path / "run" / "report.html").exists()


def make_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    lines = ["method: projection", "options: {}", "spec: {}", "source: blobs", "seed: 0", "rows: 1", "format: 1"]
    (run / "config.yaml").write_text("\n".join(lines))
    (run / "metrics.csv").write_text("step,loss,invariance\n1,3.0,\n2,2.0,1.0\n3,1.5,0.9\n")
    (run / "cost.json").write_text('{"flops": 2e12, "seconds": 75.0, "peak_memory_bytes": 3000000}')
    return run


def test_writes_one_page_that_needs_nothing_else(tmp_path):
    run = make_run(tmp_path)
    report = evaluate(Projection(run=run), blobs(240), progress=False)
    assert json.loads((run / "report.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    drawn = {path.name for path in (run / "figures").iterdir()}
    assert drawn == {"few_label.svg", "projection.svg", "confusion.svg", "neighbours.png", "training.svg"}
    page = (run / "report.html").read_text()
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", page)
    assert "<script" not in page
    assert page.count("<svg") == 4
    assert "data:image/png;base64," in page
    assert "prefers-color-scheme: dark" in page
    assert "currentColor" in page
    assert "1 min 15 s" in page
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".")) == []


def test_write_false_leaves_the_run_alone(tmp_path):
    run = make_run(tmp_path)
    evaluate(Projection(run=run), blobs(), progress=False, write=False)
    assert not (run / "report.json").exists()


def test_text_for_the_terminal(report):
    text = report.text()
    assert "projection on blobs: 192 rows to train on, 48 rows for the evaluation" in text
    assert re.search(r"kNN accuracy +0\.\d{3} \[0\.\d{3}, [01]\.\d{3}\]", text)
    assert "note: a fifth of the labelled rows is held out" in text
    assert "Learning" in text


def test_says_when_it_was_trained_on_the_test_rows():
    rep = Projection(trained_on={"source": None, "split": None, "fingerprint": "f", "rows": 120})
    assert any("trained on the rows of the evaluation" in note for note in evaluate(rep, blobs(), progress=False).notes)
    held = blobs(30, seed=1, fingerprint="g")
    assert not any("trained on" in note for note in evaluate(rep, blobs(), held, progress=False).notes)


def test_rare_classes_and_gaps_among_classes_are_no_obstacle():
    data = blobs(60, 3)
    labels = np.where(np.arange(60) == 0, 3, data.labels)  # a class of one row
    labels = np.where(labels == 1, -1, labels)  # a class without rows
    report = evaluate(Projection(), replace(data, labels=labels, classes=("a", "b", "c", "d")), progress=False)
    assert report.evidence.confusion.shape == (4, 4)
    confusion, right = report.evidence.confusion, report.representation["linear"]["accuracy"].value
    assert confusion[1].sum() == confusion[:, 1].sum() == 0
    assert right > 0.8
    assert np.trace(confusion) / confusion.sum() == pytest.approx(right)


def test_the_confusion_of_perfect_predictions_is_diagonal():
    report = evaluate(Projection(), blobs(120, noise=1.0), progress=False)
    np.testing.assert_array_equal(report.evidence.confusion, np.diag([8, 8, 8]))


def test_a_collapsed_representation_and_constant_data_have_figures_too():
    rep, data = Projection(), blobs(90)
    rep.matrix[:] = 0
    data = replace(data, stored=np.full_like(data.stored, 7))
    report = evaluate(rep, data, progress=False)
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.representation["linear"]["accuracy"].value == pytest.approx(1 / 3)
    assert report.representation["clustering"]["nmi"].value == pytest.approx(0, abs=1e-9)
    assert report.representation["geometry"]["effective_rank"].value == pytest.approx(1)


def test_a_diverged_run_is_named():
    rep = Projection()
    rep.matrix[0, 0] = np.nan
    with pytest.raises(UserError, match="NaN or infinity for 96 rows"):
        evaluate(rep, blobs(), progress=False)


def test_labels_are_those_named_else_those_of_the_run_and_may_be_missing(monkeypatch):
    asked = []

    def opens(config, spec, source, labels=None, **options):
        asked.append(labels)
        if labels not in (None, "kind"):
            raise UserError(f"labels: there is no column '{labels}'")
        return blobs(labels=labels is not None)

    monkeypatch.setattr(run_data, "open_fitting", opens)
    rep = Projection(config=config_of(labels="kind"))
    assert "linear" in evaluate(rep, "table.csv", progress=False).representation
    rep.config = config_of(labels="gone")
    assert "linear" not in evaluate(rep, "table.csv", progress=False).representation
    assert "linear" in evaluate(rep, "table.csv", labels="kind", progress=False).representation
    with pytest.raises(UserError, match="no column 'kindd'"):
        evaluate(rep, "table.csv", labels="kindd", progress=False)
    assert asked == ["kind", "gone", None, "kind", "kindd"]


def test_a_column_the_run_was_fitted_to_holds_no_labels():
    rep = Projection()
    rep.spec = TableSpec((2,), "float32", columns=(Column("size"), Column("kind")))
    with pytest.raises(UserError, match="labels: the run was fitted to column 'kind'"):
        evaluate(rep, "table.csv", labels="kind", progress=False)


def test_says_when_a_checkpoint_is_measured(tmp_path):
    run = make_run(tmp_path)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(
        f"{config}\nsteps: 1600\nsteps_per_epoch: 16\nbatch_size: 8\nlearning_rate: 0.001\nprecision: 32-true"
    )
    (run / "checkpoints").mkdir()
    torch.save({"global_step": 31, "state_dict": {}}, run / "checkpoints" / "last.ckpt")
    unfinished = "the run is unfinished: evaluated is its checkpoint at step 31 of 1,600"
    assert unfinished in evaluate(Projection(run=run), blobs(), progress=False).notes
    (run / "model.safetensors").touch()
    assert unfinished not in evaluate(Projection(run=run), blobs(), progress=False).notes


def test_says_what_was_done_to_the_data_when_they_were_opened():
    data, held = (replace(blobs(seed=seed), notes=notes) for seed, notes in enumerate([("grey",), ("grey", "small")]))
    assert evaluate(Projection(), data, held, progress=False).notes[:2] == ("grey", "small")


def test_refusals_name_the_argument_of_evaluate(monkeypatch):
    def opens(config, spec, source, **options):
        if source == "there":
            return blobs()
        raise UserError(f"source: {source} does not exist")

    monkeypatch.setattr(run_data, "open_fitting", opens)
    with pytest.raises(UserError, match=r"^on: nowhere does not exist"):
        evaluate(Projection(), "nowhere", progress=False)
    with pytest.raises(UserError, match=r"^test: nowhere does not exist"):
        evaluate(Projection(), "there", "nowhere", progress=False)
    with pytest.raises(UserError, match=r"^on: .* requires at least two classes, but blobs has one"):
        evaluate(Projection(), replace(blobs(), labels=np.zeros(120, np.int64)), progress=False)


def test_one_class_is_a_plain_error():
    with pytest.raises(UserError, match="at least two classes"):
        evaluate(Projection(), replace(blobs(), labels=np.zeros(120, np.int64)), progress=False)


# --- results come before pictures ----------------------------------------------------------------------------------


def broken(*args, **options):
    raise ValueError(r"\bad{$ is no text")


@pytest.mark.parametrize(
    ("module", "function", "name"),
    [
        (figures, "confusion_matrix", "figures/confusion.svg"),
        (figures, "few_label_curve", "figures/few_label.svg"),
        (figures, "gallery_png", "figures/neighbours.png"),
        (gallery, "project", "the projection of the test rows"),
        (gallery, "neighbour_gallery", "the nearest neighbours"),
        (gallery, "training_curves", "the course of the training"),
        (protocol, "confusion", "the predictions of the probe"),
    ],
)
def test_a_picture_that_fails_is_a_note_and_loses_nothing_else(tmp_path, monkeypatch, module, function, name):
    run = make_run(tmp_path)
    monkeypatch.setattr(module, function, broken)
    report = evaluate(Projection(run=run), blobs(60), progress=False)
    (note,) = [note for note in report.notes if "could not be drawn" in note]
    assert note.startswith(f"{name} could not be drawn (ValueError: \\bad{{$ is no text); ")
    stored = json.loads((run / "report.json").read_text())
    assert stored["representation"] == json.loads(json.dumps(report.to_dict()))["representation"]
    assert note in stored["notes"]
    drawn = {path.name for path in (run / "figures").iterdir()}
    assert len(drawn) == 4
    page = (run / "report.html").read_text()
    assert "kNN" in page
    assert page.count("<figure>") == 4


def test_the_measures_are_written_before_anything_is_drawn(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    monkeypatch.setattr(figures, "new_figure", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        evaluate(Projection(run=run), blobs(60), progress=False)
    assert "knn" in json.loads((run / "report.json").read_text())["representation"]
    assert "kNN" in (run / "report.html").read_text()


def test_a_damaged_record_of_the_cost_is_a_note_and_loses_nothing_else(tmp_path):
    run, rep = make_run(tmp_path), Projection()
    rep.run = run
    (run / "cost.json").write_text("{")
    with pytest.warns(Note, match=r"cost\.json is damaged .*; the report goes without"):
        report = evaluate(rep, blobs(60), progress=False)
    assert report.cost == {}
    assert set(report.representation) == FAMILIES
    assert json.loads((run / "report.json").read_text())["cost"] == {}


# --- baselines -----------------------------------------------------------------------------------------------------


def white(n=240, classes=30):
    """Faint patterns on a white ground, eight rows a class: all cosines of the pixels are nearly one."""
    generator = np.random.default_rng(0)
    y, patterns = np.arange(n) % classes, generator.uniform(0, 16, (classes, 1, 4, 4))
    x = 240 - patterns[y] + generator.normal(0, 12, (n, 1, 4, 4))
    return replace(blobs(n, classes), stored=x.clip(0, 255).astype(np.uint8))


def knn_accuracy(train, test, y, truth):
    model = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.1))
    return model.fit(train, y).score(test, truth)


def test_similarities_of_raw_pixels_are_around_the_mean_of_the_training_rows():
    data = white()
    rows = choose_rows(data, None)
    (train, test), (y, truth) = map(raw_features, (rows.train, rows.test)), (rows.train.labels, rows.test.labels)
    mean = train.mean(0)
    report = evaluate(Projection(), data, progress=False)
    found = report.baselines["raw"]["knn"]["accuracy"].value
    centred, plain = knn_accuracy(train - mean, test - mean, y, truth), knn_accuracy(train, test, y, truth)
    assert centred > plain + 0.1
    assert found == pytest.approx(centred)
    asked = retrieval_values(torch.from_numpy(test - mean), torch.from_numpy(truth))
    assert report.baselines["raw"]["retrieval"]["map_at_r"].value == pytest.approx(asked["map_at_r"].mean(), abs=1e-6)
    shape = effective_rank(torch.from_numpy(test))  # of the pixels as they are
    assert report.baselines["raw"]["geometry"]["effective_rank"].value == pytest.approx(float(shape), rel=1e-4)


@pytest.mark.parametrize("kind", ["trial", "final"])
def test_the_benchmarks_compare_raw_pixels_in_the_same_way(kind):
    from benchmarks.cells.pretrain import measured

    rows = choose_rows(white(), None)
    train, test = map(raw_features, (rows.train, rows.test))
    for method, origin in (("raw", train.mean(0)), ("untrained", 0)):
        found = measured(SimpleNamespace(kind=kind, method=method), raw_features, rows.test, rows.train)["knn"]
        expected = knn_accuracy(train - origin, test - origin, rows.train.labels, rows.test.labels)
        assert (found if kind == "trial" else found["value"]) == pytest.approx(expected)


def test_a_representation_is_not_centred():
    """Its similarities are its own: where an encoder puts its origin is part of what it learnt."""
    data, same = white(), Projection(16)
    same.matrix = np.eye(16, dtype=np.float32)
    rows = choose_rows(data, None)
    train, test = map(raw_features, (rows.train, rows.test))
    found = evaluate(same, data, progress=False).representation["knn"]["accuracy"].value
    assert found == pytest.approx(knn_accuracy(train, test, rows.train.labels, rows.test.labels))


def test_baselines_are_fitted_to_the_training_rows():
    data = blobs(240, noise=60.0)
    rows = choose_rows(data, None)
    train, test = map(raw_features, (rows.train, rows.test))
    pca = PCA(8, random_state=0).fit(train)
    found = evaluate(Projection(), data, progress=False)
    expected = knn_accuracy(pca.transform(train), pca.transform(test), rows.train.labels, rows.test.labels)
    assert found.baselines["pca"]["knn"]["accuracy"].value == pytest.approx(expected)
    rank = effective_rank(torch.from_numpy(pca.transform(test)))
    assert found.baselines["pca"]["geometry"]["effective_rank"].value == pytest.approx(float(rank), rel=1e-4)
    fresh = Projection(seed=50)
    expected = knn_accuracy(fresh.embed(rows.train), fresh.embed(rows.test), rows.train.labels, rows.test.labels)
    assert found.baselines["untrained"]["knn"]["accuracy"].value == pytest.approx(expected)


def test_for_pca_itself_pca_is_no_baseline():
    rep = Projection(trains=False)
    rep.method_name = "pca"
    report = evaluate(rep, blobs(), progress=False)
    assert report.to_dict()["baselines"]["pca"] is None
    assert report.gains["pca"] is None
    assert "the run is PCA, so PCA is not a baseline" in report.notes
    assert "the run is PCA, so PCA is not a baseline" not in evaluate(Projection(), blobs(), progress=False).notes
