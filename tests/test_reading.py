"""How a source is read: one object, merged over what a run was trained with, and kept in the run."""

import numpy as np
import pytest
import yaml
from PIL import Image

import salience
from salience.cli import main
from salience.errors import UserError
from salience.reading import AS_FOUND, Reading


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"folders": "class"}, "folders: expected one of classes, splits, flat; got 'class'"),
        ({"aspect": "squash"}, "aspect: expected one of crop, pad, stretch; got 'squash'"),
        ({"separator": ";;"}, "separator: expected one character such as ; got ';;'"),
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
