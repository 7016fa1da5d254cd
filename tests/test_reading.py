"""How a source is read: one object, merged over what a run was trained with, and kept in the run."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import salience
from salience.cli import main
from salience.data import open_data
from salience.errors import UserError
from salience.reading import AS_FOUND, Reading


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"folders": "class"}, "folders: expected one of classes, splits, flat; got 'class'"),
        ({"aspect": "squash"}, "aspect: expected one of crop, pad, stretch; got 'squash'"),
        ({"separator": ";;"}, "separator: expected one character such as ; got ';;'; for a tab: tab"),
        ({"decimal": ";"}, "decimal: expected one of ., ,; got ';'"),
        ({"header": "no"}, "header: expected True or False, got 'no'"),
        ({"missing": (1,)}, "missing: expected words such as NA, got (1,)"),
    ],
)
def test_other_values_are_refused_by_name(wrong, message):
    with pytest.raises(UserError) as refused:
        Reading(**wrong)
    assert str(refused.value) == message


def test_a_reading_is_filled_up_from_another_one():
    mine, run = Reading(aspect="pad", header=False), Reading(aspect="crop", separator=";", header=True)
    assert mine.over(run) == Reading(aspect="pad", separator=";", header=False)
    assert AS_FOUND.over(run) == run


def test_a_config_gives_back_what_was_said():
    said = Reading(folders="flat", missing=("NA", "?"), header=False)
    written = yaml.safe_load(yaml.safe_dump({"reading": said.to_dict()}))
    assert Reading.of(written) == said
    assert Reading.of({"reading": {}}) == AS_FOUND


def test_runs_made_before_readings_were_kept_stretch():
    assert Reading.of({}) == Reading(aspect="stretch")


@pytest.mark.parametrize("damaged", ["crop", {"colour": 1}, ["aspect"]])
def test_a_damaged_reading_of_a_run_is_refused(damaged):
    with pytest.raises(UserError, match=r"its config\.yaml is damaged"):
        Reading.of({"reading": damaged})


def pictures(folder):
    folder.mkdir()
    for row in range(4):
        pixels = np.random.default_rng(row).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row}.png")
    return folder


def test_the_command_line_hands_it_to_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pictures(tmp_path / "photos")
    words = ["--aspect", "pad", "--folders", "flat"]
    assert main(["fit", "pca", str(folder), "--dim", "2", "--out", "run", *words]) == 0
    said = Reading(aspect="pad", folders="flat")
    assert salience.load("run").reading == said
    assert main(["fit", "--config", "run/config.yaml", "--aspect", "crop", "--out", "again"]) == 0
    assert salience.load("again").reading == Reading(aspect="crop").over(said)


def test_a_run_fitted_to_opened_data_reads_new_data_as_those_were(tmp_path):
    folder = pictures(tmp_path / "photos")
    data = salience.open_data(folder, reading=Reading(aspect="pad"), progress=False)
    rep = salience.fit("pca", data.subset([0, 1, 2]), dim=2, out=tmp_path / "run", progress=False)
    assert salience.load(tmp_path / "run").reading == rep.reading == Reading(aspect="pad")


def test_new_data_are_read_as_the_training_data_were(tmp_path, monkeypatch):
    folder = pictures(tmp_path / "photos")
    rep = salience.fit(
        "pca", str(folder), dim=2, out=tmp_path / "run", reading=Reading(aspect="pad", folders="flat"), progress=False
    )
    seen = []
    monkeypatch.setattr("salience.representation.open_data", lambda source, **given: seen.append(given["reading"]))
    rep.open(folder)
    rep.open(folder, reading=Reading(separator=","))
    assert seen == [Reading(aspect="pad", folders="flat"), Reading(aspect="pad", folders="flat", separator=",")]


def test_the_config_of_a_run_made_before_readings_were_kept_stretches_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pictures(tmp_path / "photos")
    assert main(["fit", "pca", str(folder), "--dim", "2", "--out", "run"]) == 0
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    del config["reading"]
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "old.yaml", "--out", "again"]) == 0
    assert salience.load("again").reading == Reading(aspect="stretch")


def numbers(folder):
    np.save(folder / "x.npy", np.arange(12.0).reshape(6, 2))
    return folder / "x.npy"


def csv(folder):
    (folder / "t.csv").write_text("a,b\n1,2\n3,4\n")
    return folder / "t.csv"


OPTIONS = {"folders": "flat", "aspect": "pad", "separator": ";", "decimal": ",", "header": False, "missing": ("NA",)}
TAKEN = {
    "folder": (lambda tmp: pictures(tmp / "p"), {"folders", "aspect"}),
    "image": (lambda tmp: pictures(tmp / "p") / "0.png", {"aspect"}),
    "array file": (numbers, {"aspect", "missing"}),
    "array": (lambda tmp: np.arange(12.0).reshape(6, 2), {"aspect", "missing"}),
    "CSV": (csv, {"separator", "decimal", "header", "missing"}),
    "DataFrame": (lambda tmp: pd.DataFrame({"a": [1.0, 2.0]}), {"aspect", "missing"}),
    "built-in": (lambda tmp: "digits", {"aspect"}),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_an_option_that_says_nothing_about_the_source_is_refused_by_name(tmp_path, kind):
    make, taken = TAKEN[kind]
    source = make(tmp_path)
    for name, value in OPTIONS.items():
        if name in taken:
            open_data(source, reading=Reading(**{name: value}), cache=tmp_path / "cache")
        else:
            with pytest.raises(UserError, match=f"^{name}: it is for .*, and the source is an? .*; leave it out"):
                open_data(source, reading=Reading(**{name: value}), cache=tmp_path / "cache")


def test_the_reading_of_a_run_may_be_meant_for_another_kind_of_source(tmp_path):
    run = open_data(csv(tmp_path), cache=tmp_path / "cache").spec
    frame = pd.DataFrame({"a": [1.0], "b": [2.0]})
    assert len(open_data(frame, spec=run, reading=Reading(separator=";", decimal=","))) == 1


def test_a_labels_file_beside_a_folder_may_have_missing_values(tmp_path):
    (tmp_path / "labels.csv").write_text("item,label\n0.png,x\n1.png,NA\n2.png,y\n")
    where = {"labels": tmp_path / "labels.csv", "cache": tmp_path / "cache"}
    data = open_data(pictures(tmp_path / "p"), reading=Reading(missing=("NA",)), **where)
    assert data.labels.tolist() == [0, -1, 1, -1]


def test_a_negative_number_may_be_named_as_missing_on_the_command_line(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("a,label\n1.5,-1\n2.5,3\n3.5,4\n")
    assert main(["data", str(tmp_path / "t.csv"), "--missing", "-1"]) == 0
    assert "unlabelled: 1" in capsys.readouterr().out
