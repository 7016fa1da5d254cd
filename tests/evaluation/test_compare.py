import json

import pytest

from salience.errors import Note, UserError
from salience.evaluation import Comparison, compare


def make_run(folder, linear=0.9, fingerprint="f", flops=1e12, labels=True):
    folder.mkdir()
    (folder / "config.yaml").write_text("{method: m, options: {}, spec: {}, source: s, seed: 0, rows: 1}")
    metric = {"accuracy": {"value": linear, "interval": [linear - 0.02, linear + 0.02]}}
    measures = (
        {"linear": metric, "knn": metric, "few_label": {"1": metric, "10": metric}} if labels else {"geometry": {}}
    )
    about = {"method": "m", "on": "digits", "test": {"fingerprint": fingerprint}}
    report = {"representation": measures, "about": about, "cost": {"flops": flops, "seconds": 65.0} if flops else {}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_the_best_comes_first_with_what_it_cost(tmp_path):
    runs = [make_run(tmp_path / "worse", 0.7), make_run(tmp_path / "better", 0.8, flops=3e15)]
    found = compare(runs, tmp_path / "out")
    assert [entry.name for entry in found.entries] == ["better", "worse"]
    lines = found.text().splitlines()
    assert "0.800 [0.780, 0.820]" in lines[1]
    assert "3e+15" in lines[1]
    assert "1 min 5 s" in lines[1]
    assert found.notes == ()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"compare.json", "compare.html", "compare.svg"}
    stored = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [run["linear probe"]["value"] for run in stored["runs"]] == [0.8, 0.7]
    assert "better" in found.plot()


def test_other_test_rows_are_said(tmp_path):
    found = compare([make_run(tmp_path / "a"), make_run(tmp_path / "b", fingerprint="g")])
    assert "judged by different rows" in found.text()


def test_runs_without_labels_or_cost_are_listed_all_the_same(tmp_path):
    found = compare([make_run(tmp_path / "a", labels=False), make_run(tmp_path / "b", flops=None)])
    assert found.plot() == ""
    assert [entry.name for entry in found.entries] == ["b", "a"]
    assert "note: not in the picture" in found.text()
    assert found.notes[0].endswith(": b")


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(UserError, match="none was given"):
        compare([])
    with pytest.raises(UserError, match="does not exist"):
        compare([tmp_path / "missing"])
    run = make_run(tmp_path / "run")
    (run / "report.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        compare([run])
    (run / "report.json").unlink()
    with pytest.raises(UserError, match="salience evaluate"):
        compare([run])


def test_a_plot_that_fails_does_not_lose_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(Comparison, "plot", lambda self: 1 / 0)
    with pytest.warns(Note, match=r"compare\.svg could not be drawn .* the table is complete"):
        compare([make_run(tmp_path / "a")], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"compare.json", "compare.html"}
