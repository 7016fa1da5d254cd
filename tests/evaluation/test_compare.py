import json
import re

import numpy as np
import pytest
from matplotlib.axes import Axes

from salience.errors import Note, UserError
from salience.evaluation.compare import Comparison, compare


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
    assert "evaluated on different rows" in found.text()


def test_runs_without_labels_or_cost_are_listed_all_the_same(tmp_path):
    found = compare([make_run(tmp_path / "a", labels=False), make_run(tmp_path / "b", flops=None)])
    assert found.plot() == ""
    assert [entry.name for entry in found.entries] == ["b", "a"]
    assert "note: not in the plot" in found.text()
    assert found.notes[0].endswith(": b")


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(UserError, match="got none"):
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


def test_every_column_is_of_its_own_figure_and_the_picture_of_its_own_cost(tmp_path, monkeypatch):
    run, points = make_run(tmp_path / "run", 0.6, flops=2e12), []
    stored = json.loads((run / "report.json").read_text())
    for value, (family, key) in enumerate((("linear", None), ("knn", None), ("few_label", "1"), ("few_label", "10"))):
        where = stored["representation"][family] if key is None else stored["representation"][family][key]
        where["accuracy"] = {"value": 0.1 + 0.2 * value, "interval": [0.05 + 0.2 * value, 0.25 + 0.2 * value]}
    (run / "report.json").write_text(json.dumps(stored))
    found = compare([run])
    (line,) = found.table().splitlines()[1:]
    cells = ["0.100 [0.050, 0.250]", "0.300 [0.250, 0.450]", "0.500 [0.450, 0.650]", "0.700 [0.650, 0.850]"]
    order = {"linear": 0, "knn": 1, "1": 2, "10": 3}
    assert [cell for cell in re.split(r" {2,}", line) if "[" in cell] == [cells[order[key]] for key in found.shown]
    errorbar = Axes.errorbar
    monkeypatch.setattr(
        Axes, "errorbar", lambda self, *given, **how: points.append(given) or errorbar(self, *given, **how)
    )
    found.plot()
    assert [one[:2] for one in points] == [(2e12, 0.1), (65.0, 0.1)]
    for _, _, ends in points:
        np.testing.assert_allclose(np.ravel(ends), [0.05, 0.15])
