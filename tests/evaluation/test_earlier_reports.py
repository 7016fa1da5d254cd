import json
from contextlib import nullcontext

import pytest

from salience.errors import Note
from salience.evaluation import evaluate, page
from salience.evaluation.compare import compare
from salience.evaluation.earlier_reports import keep_earlier

from .conftest import Projection, blobs
from .test_evaluate import make_run

HERE, THERE = blobs(60, name="here", fingerprint="h"), blobs(60, seed=1, name="there", fingerprint="t")


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def measured(run, data):
    return evaluate(Projection(run=run), data, progress=False)


def reports(run):
    """file -> the data that report.json or report-N.json is about"""
    return {path.name: json.loads(path.read_text())["about"]["on"] for path in sorted(run.glob("report*.json"))}


def test_the_earlier_report_is_kept_whole_and_the_latest_keeps_its_name(run):
    measured(run, HERE)
    before = [(run / name).read_bytes() for name in ("report.html", "report.json")]
    with pytest.warns(Note, match=r"the earlier report, on here, is kept as .*run/report-1\.html and \.json"):
        measured(run, THERE)
    assert reports(run) == {"report.json": "there", "report-1.json": "here"}
    assert [(run / name).read_bytes() for name in ("report-1.html", "report-1.json")] == before
    assert [entry.on for entry in compare([run]).entries] == ["there"]
    assert not list(run.rglob("*.part"))


def test_the_same_data_again_replace_the_report(run):
    measured(run, HERE)
    measured(run, HERE)  # a Note would be an error
    assert reports(run) == {"report.json": "here"}


def test_other_labels_of_the_same_rows_are_another_evaluation(run):
    measured(run, HERE)
    with pytest.warns(Note, match="report-1"):
        measured(run, blobs(60, name="here", fingerprint="h", labels=False))
    drawn = {path.name for path in (run / "figures").iterdir()}
    assert "confusion.svg" not in drawn, "a figure of the earlier report among those of the latest"
    assert "projection.svg" in drawn


def test_what_is_kept_does_not_grow_with_every_evaluation(run):
    for data in (HERE, THERE, HERE, THERE):
        with pytest.warns(Note) if (run / "report.json").exists() else nullcontext():
            measured(run, data)
    assert reports(run) == {"report.json": "there", "report-1.json": "here", "report-2.json": "there"}


def test_a_page_of_the_users_own_is_not_overwritten(run):
    (run / "report-7.html").write_text("mine")
    measured(run, HERE)
    with pytest.warns(Note, match="report-8"):
        measured(run, THERE)
    assert (run / "report-7.html").read_text() == "mine"


def test_killed_while_drawing_nothing_is_lost(run, monkeypatch):
    measured(run, HERE)
    monkeypatch.setattr(page, "draw", lambda report: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), pytest.warns(Note, match="report-1"):
        measured(run, THERE)
    assert reports(run) == {"report.json": "there", "report-1.json": "here"}
    assert "What projection on there has learnt" in (run / "report.html").read_text()
    monkeypatch.undo()
    measured(run, THERE)  # the same data: a Note would be an error
    assert reports(run) == {"report.json": "there", "report-1.json": "here"}
    assert "<svg" in (run / "report.html").read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"about": 3}', '{"representation": {}}'])
def test_a_damaged_report_is_replaced(run, text):
    (run / "report.json").write_text(text)
    assert keep_earlier(run, {"on": "here"}) is None
    assert [path.name for path in run.glob("report*")] == ["report.json"]
