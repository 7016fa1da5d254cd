"""What the files of a run must hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from salience.cli import main
from salience.config import KINDS
from salience.errors import Note, UserError
from salience.evaluation.compare import compare
from salience.evaluation.gallery import training_curves
from salience.modalities import Spec
from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec
from salience.representation import load
from salience.run import Run, next_free
from salience.run_metrics import read_numbers
from salience.training import fit, resume
from salience.training.metrics import MetricsCSV
from salience.untrusted import Damaged
from salience.verbs.doctor import doctor
from tests.test_untrusted import BAD_YAML


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records") / "run"
    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    fit("autoencoder", x, out=folder, epochs=2, dim=2, progress=False)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def edit(run: Path, **changed: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text()) | changed
    (run / "config.yaml").write_text(yaml.safe_dump(config))


READERS: dict[str, Callable[[Path], Any]] = {
    "load": load,
    "doctor": doctor,
    "compare": lambda run: compare([run]),
    "resume": resume,
}


def test_what_a_run_of_today_holds_is_known_by_name(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert set(config) <= set(KINDS)
    assert Run(run).config.to_dict() == config
    edit(run, something_new={"of": ["a later version"]})
    assert Run(run).config.more["something_new"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rows", "many", "an integer >= 1, got 'many'"),
        ("rows", -5, "an integer >= 1, got -5"),
        ("rows", True, "an integer"),
        ("rows", 10**19, "an integer"),
        ("seed", -1, "an integer >= 0"),
        ("seed", 1.5, "an integer"),
        ("method", ["pca"] * 1000, "a name of 1 to 200 characters, got a list of 1,000"),
        ("method", "x" * 10**6, "a name of 1 to 200"),
        ("options", [1], "a mapping"),
        ("options", {1: 2}, "a mapping"),
        ("spec", "none", "a mapping"),
        ("source", 3, "a text, or null"),
        ("classes", "abc", "a list of texts"),
        ("steps", 0, "an integer >= 1"),
        ("learning_rate", float("nan"), "a finite number"),
        ("learning_rate", "high", "a finite number"),
        ("format", "x", "an integer"),
        ("withheld", 3, "a list of texts"),
        ("compile", 1, "true or false"),
        ("budget", [1], "a text or a finite number >= 0, or null"),
    ],
)
def test_a_value_of_the_config_that_cannot_be_is_named(run: Path, name: str, value: Any, expected: str) -> None:
    edit(run, **{name: value})
    for read in READERS.values():
        with pytest.raises(UserError) as problem:
            read(run)
        assert f"config.yaml is damaged ({name}: expected {expected}" in str(problem.value)
        assert len(str(problem.value)) < 400 + len(str(run))


@pytest.mark.parametrize("what", BAD_YAML)
def test_a_config_that_is_no_plain_yaml_is_refused_wherever_it_is_read(
    run: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, _ = BAD_YAML[what]
    (run / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in READERS.values():
        with pytest.raises(UserError, match=r"config\.yaml is damaged"):
            read(run)
    for words in (["doctor", str(run)], ["fit", "--resume", str(run)], ["fit", "--config", str(run / "config.yaml")]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert len(error) < 400 + len(str(run))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("method: pca\noptions: 3", "options: expected a mapping of names, or null, got 3"),
        ("method: pca\nsource: [digits]", "source: expected a text, or null, got a list of 1"),
        ("method: pca\nsource: digits\noptions: {dim: [1, 2]}", "dim: a list of 2 is no single value"),
        (f"method: pca\nsource: digits\nseed: {'9' * 300}", "seed: "),
        (f"method: {'x' * 10**5}", "method: expected a name"),
        (f"method: pca\noptions: {{{'x' * 300}: 3}}", "expected names of 1 to 200 characters"),
    ],
)
def test_a_config_given_to_fit_is_checked_by_name(
    given: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(given)
    assert main(["fit", "--config", str(tmp_path / "c.yaml")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error) < 500


@pytest.mark.parametrize(
    "name", ["config.yaml", "model.safetensors", "checkpoints/last.ckpt", "health.json", "cost.json", "metrics.csv"]
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    for read in READERS.values():
        with pytest.raises(UserError, match="is not a plain file"):
            read(run)


HEALTH = (
    "{",
    "[]",
    '"text"',
    '{"about": 3}',
    '{"about": {"raw_knn": "x"}}',
    '{"about": {"batch_size": null}}',
    '{"probes": {"a": 1}}',
    '{"probes": [3]}',
    '{"probes": [{}]}',
    '{"probes": [{"step": "x"}]}',
    '{"probes": [{"step": 1, "loss": "x"}]}',
    '{"probes": [{"step": 1, "alignment": 1}]}',
    '{"diverged": 3}',
    '{"diverged": {"step": 1, "what": 3, "learning_rate": 0.1}}',
    '{"diverged": {"step": 1, "what": "x"}}',
    '{"probes": [' + "9" * 5000 + "]}",
)


@pytest.mark.parametrize("content", HEALTH, ids=range(len(HEALTH)))
def test_a_record_of_health_that_holds_garbage_is_named(run: Path, content: str) -> None:
    (run / "health.json").write_text(content)
    with pytest.raises(UserError, match=r"health\.json is damaged"):
        doctor(run)
    assert load(run).config.model.method == "autoencoder"  # nothing else needs it


@pytest.mark.parametrize("content", ["{", "[]", '{"seconds": "x"}', '{"seconds": NaN}', '{"flops": -1}'])
def test_a_record_of_the_cost_that_holds_garbage_is_named(run: Path, content: str) -> None:
    (run / "cost.json").write_text(content)
    with pytest.raises(UserError, match=r"cost\.json is damaged"):
        _ = Run(run).cost


def test_a_record_from_a_training_is_read_whole(run: Path) -> None:
    record = json.loads((run / "health.json").read_text())
    assert Run(run).health == record
    assert len(record["probes"]) > 1
    assert Run(run).cost == json.loads((run / "cost.json").read_text())
    assert doctor(run).verdict


GARBAGE = (
    b"\x00" * 2000,
    b"\xff\xfe\x00",
    b"step\nx\n",
    b'"' + b"a" * 200_000 + b'",b\n1,2\n',
    b"," * 50_000 + b"\n1\n",
)


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_the_metrics_is_no_curve_and_no_traceback(run: Path, content: bytes) -> None:
    (run / "metrics.csv").write_bytes(content)
    try:
        assert read_numbers(run / "metrics.csv") == {}
        assert training_curves(run) == {}
    except (Damaged, Note):
        with pytest.warns(Note, match=r"metrics\.csv is damaged"):
            assert training_curves(run) == {}


def test_rows_of_the_metrics_without_a_step_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n1,3\nx,9\n2,inf\n3,2,7\n4,word\n-5,1\n6,1\n7,")
    with pytest.warns(Note, match=r"metrics\.csv: 4 lines could not be read, passed over; the first is line 3: 'x,9'$"):
        found = read_numbers(path)
    assert found["step"].tolist() == [1, 2, 4, 6]
    np.testing.assert_array_equal(found["loss"], [3, np.inf, np.nan, 1])
    metrics = MetricsCSV(path, every=1)
    with pytest.warns(Note, match="3 lines could not be read"):
        metrics.rewind(4)
    assert path.read_text().split() == ["step,loss", "1,3", "2,inf", "4,word"]
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"metrics\.csv is damaged"):
        metrics.rewind(4)


CELLS = (
    *("1", "-2.5", "+3", "1e5", "1E-5", ".5", "5.", "inf", "-Infinity", "1e999", "12345678901234567890"),
    *("", "nan", "1_000", "0x10", "1,5", "\u0663", "True", "1 2", "1d5", "--1", "e5", ".", "1e", "1.5f"),
)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_of_the_metrics_is_the_number_that_pandas_takes_it_for(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f'step,loss\n1,0.25\n2,"{cell}"\n')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = read_numbers(path)["loss"]
    expected = pd.to_numeric(pd.Series([cell], dtype=object), errors="coerce").astype(float)
    np.testing.assert_array_equal(found, [0.25, *expected])
    assert len(said) == (np.isnan(expected[0]) and cell not in ("", "nan"))


REPORT = json.dumps(
    {
        "representation": {"linear": {"accuracy": {"value": 0.5, "interval": [0.4, 0.6]}}},
        "about": {"method": "x", "on": "y", "test": {"fingerprint": "z"}},
        "cost": {"flops": 3},
    }
)
LINES = "step,loss\n1,3\n2,2\n"


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("rubbish\n", "1 line could not be read, passed over; the first is line 4: 'rubbish'"),
        ('"open,1\n3,1\n', "1 line could not be read, passed over; the first is line 4: '\"open,1'"),
        ("\x00\x1b[2J\n3,1\n?\n", "2 lines could not be read, passed over; the first is line 4: '\\x00\\x1b[2J'"),
        ("3,many\n", "1 line could not be read, passed over; the first is line 4: '3,many'"),
        ("3,1,1\n,,,\n", "2 lines could not be read, passed over; the first is line 4: '3,1,1'"),
        ("3," + "9" * 500 + "x\n", "1 line could not be read, passed over; the first is line 4: '3,9999"),
    ],
    ids=range(6),
)
def test_lines_of_the_metrics_that_cannot_be_read_are_told_and_the_others_used(
    run: Path, added: str, said: str
) -> None:
    (run / "metrics.csv").write_text(LINES + added)
    with pytest.warns(Note) as notes:
        found = training_curves(run)
    assert found["step"].tolist()[:2] == [1, 2]
    assert (3 in found["step"]) is ("3,1\n" in added or "3,many" in added or "999" in added)
    (note,) = [str(note.message) for note in notes]
    assert f"{run / 'metrics.csv'}: {said}" in note
    assert len(note) < 400


@pytest.mark.parametrize("content", [LINES, LINES + "3,", LINES + "\n", "step,loss\n", "", "st", "step,los"])
def test_metrics_that_are_whole_or_were_being_written_are_read_without_a_note(run: Path, content: str) -> None:
    (run / "metrics.csv").write_text(content)
    assert training_curves(run).keys() == ({"step", "loss"} if content.startswith(LINES) else set())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("rubbish\nof,two\n", "its first line is 'rubbish', not names of columns with 'step'"),
        ("rubbish", "its first line is 'rubbish', not names of columns with 'step'"),
        ("step,loss\nx,1\ny,2\n", "none of its lines can be read; the first is line 2: 'x,1'"),
        (",".join(["step", *map(str, range(200))]) + "\n" + "1," * 200 + "1\n", "it has 201 columns, and at most 100"),
    ],
)
def test_metrics_of_which_nothing_can_be_read_are_damaged(run: Path, content: str, said: str) -> None:
    (run / "metrics.csv").write_text(content)
    with pytest.raises(Damaged, match=re.escape(said)):
        read_numbers(run / "metrics.csv")
    if "columns, and" not in said:
        with pytest.raises(UserError, match=rf"metrics\.csv is damaged \({re.escape(said)}\); delete it"):
            MetricsCSV(run / "metrics.csv", every=1).rewind(1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LINES + "rubbish\n", "metrics.csv: 1 line could not be read, passed over; the first is line 4: 'rubbish'"),
        ("rubbish\n", "metrics.csv is damaged (its first line is 'rubbish', not names of columns with 'step');"),
    ],
    ids=["a line", "all"],
)
@pytest.mark.parametrize("reader", ["doctor", "compare"])
def test_doctor_and_compare_tell_of_metrics_they_cannot_read(run: Path, reader: str, content: str, said: str) -> None:
    (run / "report.json").write_text(REPORT)
    expected = READERS[reader](run)
    (run / "metrics.csv").write_text(content)
    with pytest.warns(Note, match=re.escape(said)):
        found = READERS[reader](run)
    assert found == expected


def test_a_report_that_holds_garbage_is_named_by_compare(run: Path) -> None:
    report = json.loads(REPORT)
    about = report["about"]
    (run / "report.json").write_text(REPORT)
    assert compare([run]).entries[0].qualities["linear"] == {"value": 0.5, "interval": [0.4, 0.6]}
    for damage in (
        {"representation": {"linear": {"accuracy": {"value": "x", "interval": [0, 1]}}}},
        {"representation": {"linear": {"accuracy": {"value": 1, "interval": [0]}}}},
        {"representation": {"linear": {"accuracy": {"value": 1, "interval": [0, None]}}}},
        {"representation": []},
        {"about": {**about, "method": 3}},
        {"about": {**about, "on": ["x"] * 10**5}},
        {"cost": {"flops": float("inf")}},
        {"cost": 3},
    ):
        (run / "report.json").write_text(json.dumps(report | damage))
        with pytest.raises(UserError, match=r"report\.json is damaged"):
            compare([run])


@pytest.mark.parametrize(
    "damage",
    [
        {"dtype": "../../x"},
        {"dtype": None},
        {"shape": ["many"]},
        {"shape": [0]},
        {"low": "dark"},
        {"mean": [None]},
        {"std": ["wide"]},
        {"views": 3},
        {"columns": [{"name": "a", "kind": "number", "categories": [], "mean": "large", "std": 1.0}]},
        {"columns": [{"name": 7, "kind": "number", "categories": [], "mean": 0.0, "std": 1.0}]},
        {"columns": [{"name": "a", "kind": "category", "categories": [1], "mean": 0.0, "std": 1.0}]},
    ],
    ids=str,
)
def test_a_damaged_spec_is_refused(damage):
    images = ImageSpec((1, 8, 8), "uint8", 0.0, 255.0, (0.5,), (0.2,))
    good = (TableSpec((1,), "float32", columns=(Column("a"),)) if "columns" in damage else images).to_dict()
    assert Spec.from_dict(good).to_dict() == good
    with pytest.raises((ValueError, TypeError)):
        Spec.from_dict({**good, **damage})


def test_the_next_free_folder_passes_over_names_that_are_no_numbers(tmp_path):
    for name in ("pca-x-3", "pca-x-²", "pca-x-٥", "pca-x-old"):
        (tmp_path / name).mkdir()
    assert next_free(tmp_path, "pca-x") == tmp_path / "pca-x-4"
