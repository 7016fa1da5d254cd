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
from salience.fields.content import Encoded
from salience.modalities import Modality, registry
from salience.reading import AS_FOUND, Reading


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": 3}, "kind: expected the name of a kind of data, got 3"),
        ({"folders": "class"}, "folders: expected one of classes, splits, flat; got 'class'"),
        ({"aspect": "squash"}, "aspect: expected one of crop, pad, stretch; got 'squash'"),
        ({"separator": ";;"}, "separator: expected one character, such as ';', or 'tab'; got ';;'"),
        ({"decimal": ";"}, "decimal: expected one of ., ,; got ';'"),
        ({"header": "no"}, "header: expected True or False, got 'no'"),
        ({"missing": (1,)}, "missing: expected words such as NA, got (1,)"),
        ({"categorical": (1,)}, "categorical: expected names of columns, got (1,)"),
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
    said = Reading(folders="flat", missing=("NA", "?"), categorical=("a",), header=False)
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
    monkeypatch.setattr("salience.run_data.open_data", lambda source, **given: seen.append(given["reading"]))
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
OPTIONS["categorical"] = ("a",)
TAKEN = {
    "folder": (lambda tmp: pictures(tmp / "p"), {"folders", "aspect"}),
    "image": (lambda tmp: pictures(tmp / "p") / "0.png", {"aspect"}),
    "array file": (numbers, {"aspect", "missing"}),
    "array": (lambda tmp: np.arange(12.0).reshape(6, 2), {"aspect", "missing"}),
    "CSV": (csv, {"separator", "decimal", "header", "missing", "categorical"}),
    "DataFrame": (lambda tmp: pd.DataFrame({"a": [1.0, 2.0]}), {"aspect", "missing", "categorical"}),
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
            with pytest.raises(
                UserError, match=f"^{name}: expected .* as the source, got an? .*; leave this option out"
            ):
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


CHROMOSOMES = [*map(str, range(1, 23)), "X", "Y"]


def genes(path, extra=()):
    rows = [f"{name},{row / 4}" for row, name in enumerate([*CHROMOSOMES, *extra])]
    path.write_text("\n".join(["chromosome,length", *rows]) + "\n")
    return path


def test_a_column_is_kept_as_categories_if_the_user_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = genes(tmp_path / "genes.csv")
    (note,) = (note for note in open_data(source).notes if "'X'" in note)
    assert note.endswith("--categorical chromosome to keep all cells as categories")
    assert main(["fit", "pca", str(source), "--dim", "2", "--out", "run", "--categorical", "chromosome"]) == 0
    rep = salience.load("run")
    assert rep.reading.categorical == ("chromosome",)
    assert rep.spec.columns[0].categories == tuple(sorted(CHROMOSOMES))
    data = rep.open(genes(tmp_path / "new.csv"))
    assert data.item(23)[0] == sorted(CHROMOSOMES).index("Y")
    assert "--categorical" not in str(data.notes)


@pytest.mark.parametrize("column", [[1, 2, 1], ["1", "2", "1"], [1.0, 2.0, 1.0], pd.Series([1, 2, 1], dtype="Int64")])
def test_numbers_of_any_type_can_be_categories(column):
    data = open_data(pd.DataFrame({"a": column, "b": [0.5, 1.5, 2.5]}), reading=Reading(categorical="a"))
    assert data.spec.columns[0].categories == ("1", "2")
    assert data.x[:, 0].tolist() == [0, 1, 0]


def test_a_column_that_cannot_be_categories_is_refused_by_name(tmp_path):
    frame = pd.DataFrame({"chromosome": [1.0, 2.0], "empty": [None, None], "label": ["a", "b"]})
    for name, message in {
        "chromosom": "no column 'chromosom' in the items; did you mean 'chromosome'",
        "zzz": "no column 'zzz' in the items; the columns are: chromosome, empty",
        "label": "no column 'label' in the items",
        "empty": "column 'empty' cannot be kept as categories: all its cells are missing; leave it out",
    }.items():
        with pytest.raises(UserError, match=f"^categorical: {message}"):
            open_data(frame, reading=Reading(categorical=(name,)))
    many = pd.DataFrame({"a": range(2000)})
    with pytest.raises(UserError, match="more than 1,000 distinct texts; leave it out"):
        open_data(many, reading=Reading(categorical=("a",)))
    run = open_data(many).spec
    with pytest.raises(
        UserError, match="the run was trained on numbers in column 'a'; fit it again with --categorical a"
    ):
        open_data(many, spec=run, reading=Reading(categorical=("a",)))
    pictures_in_cells = pd.DataFrame({"image": [b"\x89PNG"], "a": [1]})
    with pytest.raises(UserError, match="the items are the images in column 'image', which have no categories"):
        open_data(pictures_in_cells, reading=Reading(categorical=("a",)))


def test_categories_are_those_of_the_training_data_whatever_is_new(tmp_path):
    source = genes(tmp_path / "genes.csv")
    run = open_data(source, reading=Reading(categorical="chromosome")).spec
    data = open_data(genes(tmp_path / "new.csv", ["23"]), spec=run)
    assert np.isnan(data.item(24)[0])
    assert "'chromosome': 1 value not seen in training, such as '23' in row 24" in str(data.notes)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (pd.DataFrame({"a": [1, 2], "label": ["x", "-"]}), "no cell contains '?', given with --missing"),
        (pd.DataFrame({"a": [1, 9], "b": ["u", "v"], "c": ["x", "-"]}), "no cell contains '?', given with --missing"),
        (np.arange(12.0).reshape(6, 2), "no label equals '?', given with --missing"),
    ],
)
def test_a_word_for_a_missing_value_that_never_occurs_is_told(source, told):
    given = {"labels": ["x", "y", "-", "x", "9", "x"]} if isinstance(source, np.ndarray) else {}
    data = open_data(source, reading=Reading(missing=("-", "?")), **given)
    assert [note for note in data.notes if "given with --missing" in note] == [told]
    assert not any("which --missing" in note for note in open_data(source, spec=data.spec, reading=data.reading).notes)


@pytest.mark.parametrize("cells", [[1.0, -999.0], [1, -999], ["1", "-999.0"], ["x", " -999 "], [None, "-999"]])
def test_a_word_may_be_met_as_a_number_or_a_text(cells):
    data = open_data(pd.DataFrame({"a": cells, "b": [1, 2]}), reading=Reading(missing="-999"))
    assert not any("which --missing" in note for note in data.notes)


class Note(Modality):
    """A kind of data of which every .note file is one item."""

    name, item, plural, item_extensions = "note", "note", "notes", frozenset({".note"})

    def recognizes(self, content):
        return isinstance(content, Encoded) and content.kind == self.name

    def accepts(self, content):
        return self.recognizes(content) or isinstance(content, np.ndarray)

    def build(self, found, options):
        raise UserError(f"note: {type(found.content).__name__}")

    unit = width = None


@pytest.fixture
def notes(monkeypatch):
    monkeypatch.setitem(registry._added, "note", Note())


def test_a_folder_is_read_as_its_most_frequent_kind_and_says_so(tmp_path, notes):
    pictures(tmp_path / "mixed")
    (tmp_path / "mixed" / "a.note").write_text("a")
    mixed = open_data(tmp_path / "mixed", progress=False)
    assert mixed.spec.modality.name == "image"
    assert len(mixed) == 4
    assert any("--kind note" in note for note in mixed.notes)
    with pytest.raises(UserError, match="note: Encoded"):
        open_data(tmp_path / "mixed", reading=Reading(kind="note"), progress=False)


def test_the_kind_asked_for_reads_what_it_accepts_only(tmp_path, notes):
    rows = np.ones((3, 4), np.float32)
    assert open_data(rows, progress=False).spec.modality.name == "table"
    with pytest.raises(UserError, match="note: ndarray"):
        open_data(rows, reading=Reading(kind="note"), progress=False)
    for kind, source in (("image", rows), ("table", np.ones((2, 8, 8)))):
        with pytest.raises(UserError, match="kind: this source cannot be read as"):
            open_data(source, reading=Reading(kind=kind), progress=False)
    with pytest.raises(UserError, match="expected one of"):
        open_data(rows, reading=Reading(kind="smell"), progress=False)
    pictures(tmp_path / "folder")
    with pytest.raises(UserError, match=r"kind: .* table rows are not stored in one file each"):
        open_data(tmp_path / "folder", reading=Reading(kind="table"), progress=False)
