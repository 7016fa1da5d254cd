import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from salience import fit
from salience.data import open_data
from salience.data.sources.folder_tree import list_items
from salience.errors import UserError
from salience.fields import source
from salience.modalities import find
from salience.reading import Reading

SAID_ANT_AND_BEE = "folders are read as 2 classes: ant, bee; use --folders flat to ignore them"


def save(path, value=0, size=(10, 10), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode != "RGB" else (value,) * 3).save(path, **options)


def test_folders_are_classes(pictures):
    data = open_data(pictures)
    assert data.name == "pictures"
    assert data.classes == ("ant", "bee")
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.ids == ["ant/0.png", "ant/1.png", "ant/2.png", "bee/3.png", "bee/4.png", "bee/5.png"]
    np.testing.assert_array_equal(data.x, np.arange(0, 240, 40)[:, None, None, None] * np.ones((1, 3, 10, 10)))
    assert data.spec.shape == (3, 10, 10)
    assert data.bad == ()
    assert data.notes == (SAID_ANT_AND_BEE,)


def test_a_flat_folder_has_no_labels(tmp_path):
    for name in ("b.png", "a.png", "c.PNG"):
        save(tmp_path / "flat" / name)
    data = open_data(tmp_path / "flat")
    assert data.labels is None
    assert data.classes == ()
    assert data.ids == ["a.png", "b.png", "c.PNG"]


def lay_out(root, *names):
    """An image of another brightness at each of these paths."""
    for value, name in enumerate(names):
        save(root / name, value)
    return root


def brightness(data):
    return data.x[:, 0, 0, 0].tolist()


SAID_TWO = "folders are read as 2 classes: cat, dog; use --folders flat to ignore them"


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("TRAIN", "TEST"), ("train_set", "test_set"), ("train2017", "test2017"),
     ("train-images", "test-images")],
)  # fmt: skip
def test_splits_are_known_by_the_names_they_have_in_use(tmp_path, train, test):
    lay_out(tmp_path / "x", f"{train}/cat/a.png", f"{train}/dog/b.png", f"{test}/cat/c.png")
    data, held = open_data(tmp_path / "x"), open_data(f"{tmp_path}/x:test")
    assert (data.split, data.classes, brightness(data)) == ("train", ("cat", "dog"), [0, 1])
    assert (held.split, held.classes, brightness(held)) == ("test", ("cat", "dog"), [2])
    shown = sorted([f"train ({train})", f"test ({test})"], key=lambda one: one.split("(")[1])
    otherwise = "use --folders classes or flat to change this"
    assert f"folders are read as splits: {', '.join(shown)}; this is train; {otherwise}" in data.notes
    assert f"folders are read as splits: {', '.join(shown)}; this is test; {otherwise}" in held.notes
    assert SAID_TWO in data.notes


def test_folders_without_images_are_no_splits_and_no_classes(tmp_path):
    root = lay_out(tmp_path / "x", "train/cat/a.png", "train/dog/b.png", "test/cat/c.png")
    (root / "annotations").mkdir()
    (root / "annotations" / "boxes.json").touch()
    (root / "__MACOSX" / "train").mkdir(parents=True)
    (root / "__MACOSX" / "train" / "._a.png").touch()
    (root / "train" / "empty").mkdir()
    data = open_data(root)
    assert (data.split, data.classes, data.ids) == ("train", ("cat", "dog"), ["cat/a.png", "dog/b.png"])


def test_test_and_val_alone_are_splits_of_which_one_must_be_named(tmp_path):
    lay_out(tmp_path / "x", "test/cat/a.png", "val/cat/b.png", "val/dog/c.png")
    with pytest.raises(UserError, match="has no split train; it has: test, val; choose one, as in SOURCE:test"):
        open_data(tmp_path / "x")
    assert open_data(f"{tmp_path}/x:dev").ids == ["cat/b.png", "dog/c.png"]
    assert open_data(f"{tmp_path}/x:test").classes == ("cat", "dog")


def test_one_folder_named_like_a_split_is_that_split(tmp_path):
    lay_out(tmp_path / "x", "test/cat/a.png", "test/dog/b.png")
    data = open_data(tmp_path / "x")
    assert (data.split, data.classes) == ("test", ("cat", "dog"))


def test_a_class_named_like_a_split_is_a_class_among_others_and_is_warned_of(tmp_path):
    root = lay_out(tmp_path / "x", "bus/a.png", "car/b.png", "train/c.png")
    data = open_data(root)
    assert data.classes == ("bus", "car", "train")
    assert "the class folder train has the name of a split; use --folders splits to read it as one" in data.notes
    assert brightness(open_data(root, reading=Reading(folders="splits"))) == [2]
    with pytest.raises(UserError, match="no split 'test'"):
        open_data(f"{root}:test")


def test_what_lies_beside_two_splits_is_passed_over_and_said(tmp_path):
    root = lay_out(tmp_path / "x", "train/a.png", "test/b.png", "masks/c.png", "cover.png")
    data = open_data(root)
    assert (data.ids, data.labels) == (["a.png"], None)
    assert "1 folder outside the splits skipped: masks" in data.notes
    assert "1 image outside the folders of the splits skipped" in data.notes


def test_two_folders_of_one_split_are_refused(tmp_path):
    root = lay_out(tmp_path / "x", "train/a.png", "Training/b.png")
    with pytest.raises(UserError, match="Training and train both name the split train; rename one, or give --folders"):
        open_data(root)
    assert open_data(root, reading=Reading(folders="classes")).classes == ("Training", "train")


@pytest.mark.parametrize("wrapper", ["images", "archive/data/images"])
def test_a_folder_that_only_wraps_others_is_passed_through(tmp_path, wrapper):
    root = lay_out(tmp_path / "x", f"{wrapper}/cat/a.png", f"{wrapper}/dog/b.png", f"{wrapper}/c.png")
    data = open_data(root)
    assert data.classes == ("cat", "dog")
    assert data.ids == [f"{wrapper}/c.png", f"{wrapper}/cat/a.png", f"{wrapper}/dog/b.png"]
    assert data.labels.tolist() == [-1, 0, 1]
    assert f"folders in {wrapper}/ are read as 2 classes: cat, dog; use --folders flat to ignore them" in data.notes
    assert "1 image outside the class folders: without a label" in data.notes


def test_wrappers_are_passed_through_above_splits_and_within_them(tmp_path):
    root = lay_out(
        tmp_path / "x", "download/training_set/training_set/cat/a.png", "download/training_set/training_set/dog/b.png",
        "download/test_set/test_set/cat/c.png",
    )  # fmt: skip
    data, held = open_data(root), open_data(f"{root}:test")
    assert (data.classes, data.labels.tolist(), data.ids[0]) == (("cat", "dog"), [0, 1], "training_set/cat/a.png")
    assert (held.split, held.labels.tolist()) == ("test", [0])


def test_a_single_folder_of_images_is_a_class_and_no_wrapper(tmp_path):
    assert open_data(lay_out(tmp_path / "x", "cat/a.png", "cat/b.png")).classes == ("cat",)


@pytest.mark.parametrize(
    ("said", "split", "classes", "ids"),
    [
        (None, "train", ("cat", "dog"), ["cat/b.png", "dog/c.png"]),
        ("splits", "train", ("cat", "dog"), ["cat/b.png", "dog/c.png"]),
        ("classes", "train", ("test", "train"), ["test/cat/a.png", "train/cat/b.png", "train/dog/c.png"]),
        ("flat", "train", (), ["test/cat/a.png", "train/cat/b.png", "train/dog/c.png"]),
    ],
)
def test_the_user_says_what_folders_are(tmp_path, said, split, classes, ids):
    root = lay_out(tmp_path / "x", "test/cat/a.png", "train/cat/b.png", "train/dog/c.png")
    data = open_data(root, reading=Reading(folders=said))
    assert (data.split, data.classes, data.ids) == (split, classes, ids)
    labelled = [data.classes[code] for code in data.labels] if classes else data.labels
    assert labelled == {"classes": ["test", "train", "train"], "flat": None}.get(said, ["cat", "dog"])


def test_folders_of_other_names_are_splits_where_the_user_says_so(tmp_path):
    root = lay_out(tmp_path / "x", "train/a.png", "unlabelled/b.png")
    assert open_data(root).classes == ("train", "unlabelled")
    assert open_data(f"{root}:unlabelled", reading=Reading(folders="splits")).ids == ["b.png"]
    with pytest.raises(UserError, match="no subfolder of images to read as a split"):
        open_data(lay_out(tmp_path / "y", "a.png"), reading=Reading(folders="splits"))


def test_another_reading_of_the_same_folder_is_not_taken_from_the_cache(tmp_path):
    root = lay_out(tmp_path / "x", "cat/a.png", "dog/b.png")
    assert open_data(root).classes == ("cat", "dog")
    assert open_data(root, reading=Reading(folders="flat")).classes == ()
    assert open_data(root).classes == ("cat", "dog")


def test_a_run_reads_a_new_folder_as_it_read_the_first(tmp_path):
    first = lay_out(tmp_path / "x", "train/a.png", "train/b.png", "test/c.png")
    second = lay_out(tmp_path / "y", "train/d.png", "test/e.png")
    flat = Reading(folders="flat")
    rep = fit("pca", str(first), dim=1, out=tmp_path / "run", reading=flat, progress=False)
    assert len(rep.open(second)) == 2
    assert len(rep.open(second, reading=Reading(folders="splits"))) == 1


def test_split_folders(tmp_path):
    for i, name in enumerate(("train/cat/a.png", "train/dog/b.png", "valid/dog/c.png", "test/ape/d.png")):
        save(tmp_path / "x" / name, i)
    train, test, valid = (open_data(f"{tmp_path}/x{split}") for split in ("", ":test", ":val"))
    assert (train.split, test.split, valid.split) == ("train", "test", "valid")
    assert train.classes == test.classes == valid.classes == ("ape", "cat", "dog")
    assert train.labels.tolist() == [1, 2]
    assert valid.labels.tolist() == [2]
    assert test.labels.tolist() == [0]
    assert test.ids == ["ape/d.png"]
    np.testing.assert_array_equal(open_data(tmp_path / "x", split="test").x, test.x)
    with pytest.raises(UserError, match="split: the option is val, but the source names test"):
        open_data(f"{tmp_path}/x:test", split="val")
    with pytest.raises(UserError, match="no split 'extra'; it has: test, train, valid"):
        open_data(f"{tmp_path}/x:extra")


def test_every_kind_of_bad_file_is_named_and_left_out(pictures, capsys):
    (pictures / "ant" / "0a-empty.png").touch()
    whole = (pictures / "ant" / "0.png").read_bytes()
    (pictures / "ant" / "0b-cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "bee" / "3a-text.jpg").write_text("this is no image")
    (pictures / "bee" / "gone.png").symlink_to(pictures / "nowhere.png")
    Image.fromarray(np.ones((10, 10), np.float32)).save(pictures / "bee" / "float.tif")
    Image.new("1", (20_000, 20_000)).save(pictures / "bomb.png")
    data = open_data(pictures)
    bad = {item.id: item.reason for item in data.bad}
    assert set(bad) == {
        "ant/0a-empty.png",
        "ant/0b-cut.png",
        "bee/3a-text.jpg",
        "bee/gone.png",
        "bee/float.tif",
        "bomb.png",
    }
    assert bad["ant/0a-empty.png"] == "empty"
    assert "missing" in bad["bee/gone.png"]
    assert "limit" in bad["bomb.png"]
    assert data.ids == [f"ant/{i}.png" for i in range(3)] + [f"bee/{i}.png" for i in range(3, 6)]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.x[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160, 200]
    assert "left out 6 of 12 items" in capsys.readouterr().err
    again = open_data(pictures, progress=False)
    assert again.bad == data.bad
    assert again.ids == data.ids
    assert capsys.readouterr().err == ""


def test_no_readable_item_is_an_error(tmp_path):
    (tmp_path / "x").mkdir()
    for name in ("a.png", "b.jpg"):
        (tmp_path / "x" / name).write_text("no image")
    with pytest.raises(UserError, match=r"none of the 2 items can be read; the first, a\.png: not an image"):
        open_data(tmp_path / "x")
    header_only = Image.new("L", (64, 64))
    header_only.save(tmp_path / "whole.png")
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes((tmp_path / "whole.png").read_bytes()[:50])
    with pytest.raises(UserError, match=r"the only item cannot be read, a\.png: "):
        open_data(tmp_path / "x")


def test_an_empty_folder_and_a_missing_path_are_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no image in"):
        open_data(tmp_path / "empty")
    (tmp_path / "empty" / "notes.md").touch()
    with pytest.raises(UserError, match=r"no image in .*1 other file;"):
        open_data(tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere does not exist"):
        open_data(tmp_path / "nowhere")
    with pytest.raises(UserError, match="did you mean digits"):
        open_data("digit")
    (tmp_path / "a.xyz").write_text("hello")
    with pytest.raises(UserError, match=r"a\.xyz: unsupported file type"):
        open_data(tmp_path / "a.xyz")


def test_other_files_are_passed_over_and_said_hidden_ones_are_not_mentioned(pictures):
    (pictures / "ant" / "notes.txt").touch()
    (pictures / ".DS_Store").touch()
    (pictures / "ant" / "._0.png").write_text("resource fork")
    data = open_data(pictures)
    assert len(data) == 6
    assert data.notes == (SAID_ANT_AND_BEE, "1 file is not an image and was skipped: ant/notes.txt")


def test_all_files_that_are_no_images_are_counted(pictures):
    for row in range(248):
        (pictures / "bee" / f"{row:03}.svg").touch()
    assert "248 files are not images and were skipped: bee/000.svg, bee/001.svg, bee/002.svg, ..." in (
        open_data(pictures).notes
    )


def test_a_loop_of_links_ends_and_is_said(pictures):
    (pictures / "ant" / "loop").symlink_to(pictures)
    (pictures / "self.png").symlink_to(pictures / "self.png")
    data = open_data(pictures)
    assert len(data) == 6
    assert "1 folder link leads to a folder that was listed already, skipped: ant/loop" in data.notes
    assert [item.id for item in data.bad] == ["self.png"]


def test_a_second_link_to_a_folder_is_passed_over_and_said(pictures):
    (pictures / "wasp").symlink_to(pictures / "bee")
    data = open_data(pictures)
    assert data.ids[3:] == ["bee/3.png", "bee/4.png", "bee/5.png"]
    assert "1 folder link leads to a folder that was listed already, skipped: wasp" in data.notes


def test_a_thousand_nested_folders_are_listed(tmp_path):
    here = Path.cwd()
    (tmp_path / "x").mkdir()
    try:
        os.chdir(tmp_path / "x")
        for _ in range(1100):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
        save(Path("deep.png"))
    finally:
        os.chdir(here)
    save(tmp_path / "x" / "top.png")
    assert open_data(tmp_path / "x").ids == ["d/" * 1100 + "deep.png", "top.png"]
    subprocess.run(["rm", "-rf", tmp_path / "x" / "d"], check=True)  # shutil's own way is recursive


def test_a_folder_that_cannot_be_listed_is_said(pictures, monkeypatch):
    listed = os.scandir

    def refusing(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr("salience.data.sources.folder_tree.os.scandir", refusing)
    data = open_data(pictures)
    assert len(data) == 3
    assert "folder bee cannot be listed (Permission denied) and is skipped" in data.notes


def test_deeper_folders_belong_to_the_class_above(tmp_path):
    save(tmp_path / "x" / "cat" / "indoors" / "a.png")
    save(tmp_path / "x" / "dog" / "b.png")
    save(tmp_path / "x" / "stray.png")
    data = open_data(tmp_path / "x")
    assert data.ids == ["cat/indoors/a.png", "dog/b.png", "stray.png"]
    assert data.labels.tolist() == [0, 1, -1]


def test_mixed_sizes_and_colours_become_one_format(tmp_path):
    save(tmp_path / "x" / "a.png", 10, (100, 80))
    save(tmp_path / "x" / "b.jpg", 100, (70, 71))
    save(tmp_path / "x" / "c.png", 200, (90, 90), "L")
    data = open_data(tmp_path / "x")
    assert data.spec.shape == (3, 64, 64)
    assert [int(image.mean().round()) for image in data.x] == [10, 100, 200]
    resized, mixed = data.notes
    assert resized.startswith("resized to 64x64: the shorter side to 64, the centre cropped (median size 90x80;")
    assert mixed == "1 grey image among colour images is stored as RGB"


def test_sixteen_bit_files_stay_so(tmp_path):
    (tmp_path / "x").mkdir()
    values = np.random.default_rng(0).integers(0, 65536, (3, 12, 12)).astype(np.uint16)
    for i, value in enumerate(values):
        Image.fromarray(value).save(tmp_path / "x" / f"{i}.png")
    data = open_data(tmp_path / "x")
    np.testing.assert_array_equal(data.x[:, 0], values)
    assert (data.spec.dtype, data.spec.high) == ("uint16", 65535)
    assert data.batch(np.arange(3)).x.numpy().dtype == np.uint16


def test_an_image_alone_is_a_set_of_one(pictures):
    data = open_data(pictures / "bee" / "5.png")
    assert len(data) == 1
    assert data.ids == ["5.png"]
    assert (data.x == 200).all()


def test_a_changed_file_is_noticed_and_an_unchanged_folder_is_not_read(pictures, monkeypatch):
    before = open_data(pictures)
    save(pictures / "ant" / "0.png", 99)
    after = open_data(pictures)
    assert (before.x[0] == 0).all()
    assert (after.x[0] == 99).all()
    monkeypatch.setattr("salience.data.build.build", lambda *_, **__: pytest.fail("prepared again"))
    assert open_data(pictures).fingerprint == after.fingerprint


def test_labels_from_a_file(pictures, tmp_path):
    (tmp_path / "labels.csv").write_text("item,label\nant/0.png,red\nbee/5.png,blue\n")
    data = open_data(pictures, labels=str(tmp_path / "labels.csv"))
    assert data.classes == ("blue", "red")
    assert data.labels.tolist() == [1, -1, -1, -1, -1, 0]
    with pytest.raises(UserError, match="labels: expected a CSV file with the columns item,label"):
        open_data(pictures, labels="kind")
    (tmp_path / "other.csv").write_text("item,label\nx.png,red\n")
    with pytest.raises(UserError, match=r"such as ant/0\.png"):
        open_data(pictures, labels=str(tmp_path / "other.csv"))
    (tmp_path / "wrong.csv").write_text("a,b\nx.png,red\n")
    with pytest.raises(UserError, match="line 1: expected the columns item and label, got 'a,b'"):
        open_data(pictures, labels=str(tmp_path / "wrong.csv"))


def test_groups_from_the_path(pictures):
    groups = open_data(pictures, groups=r"/(\d)").groups
    assert len(set(groups.tolist())) == 6
    groups = open_data(pictures, groups=r"(ant|bee)/").groups
    assert groups.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UserError, match="matches none of the paths, such as ant"):
        open_data(pictures, groups=r"patient(\d+)")
    with pytest.raises(UserError, match="not a valid regular expression"):
        open_data(pictures, groups="(")


def test_a_name_that_is_no_utf8_is_kept(tmp_path):
    folder = os.fsencode(tmp_path / "x")
    Path(os.fsdecode(folder)).mkdir()
    save(tmp_path / "plain.png", 7)
    (tmp_path / "plain.png").rename(os.fsdecode(folder + b"/caf\xe9.png"))
    for _ in range(2):
        data = open_data(tmp_path / "x")
        assert os.fsencode(data.ids[0]) == b"caf\xe9.png"
        assert (data.x == 7).all()


def test_what_is_no_regular_file_is_left_out_and_not_waited_for(pictures):
    os.mkfifo(pictures / "ant" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(pictures / "bee" / "socket.png"))  # the kernel takes 107 bytes of path
        data = open_data(pictures)
    assert {item.id: item.reason for item in data.bad} == dict.fromkeys(
        ("ant/pipe.png", "bee/socket.png"), "not a regular file"
    )
    assert len(data) == 6
    os.mkfifo(pictures / "pipe")
    with pytest.raises(UserError, match="pipe is a pipe or a device"):
        open_data(pictures / "pipe")


def test_names_with_control_characters_are_printed_in_one_line(pictures, capsys):
    (pictures / "ant" / "a\n\x1b[2J.png").touch()
    (pictures / "ant" / "b\n.txt").touch()
    data = open_data(pictures)
    assert data.bad[0].id == "ant/a\n\x1b[2J.png"
    assert capsys.readouterr().err == "left out 1 of 7 items: ant/a\\n\\x1b[2J.png (empty)\n"
    assert data.notes == (SAID_ANT_AND_BEE, "1 file is not an image and was skipped: ant/b\\n.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item,label\ncaf\xe9.png,red\n".encode("latin-1"), "not text in UTF-8"),
        (b"item,label\nant/0.png,red\nant/1.png\n", "line 3: expected 2 cells as in the header, got 1"),
        (b"item,label\nant/0.png,red\nant/0.png,blue\n", "line 3 labels 'ant/0.png' as 'blue', line 2 as 'red'"),
    ],
)
def test_labels_files_are_refused_as_predict_refuses_them(pictures, tmp_path, content, message):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_data(pictures, labels=str(tmp_path / "labels.csv"))


def test_lines_of_a_labels_file_that_name_no_item_are_told(pictures, tmp_path):
    (tmp_path / "labels.csv").write_text("item,label\nant/0.png,10\ngone.png,x\nbee/5.png,9\nbee/4.png,-1\nlost,y\n")
    data = open_data(pictures, labels=str(tmp_path / "labels.csv"))
    assert data.classes == ("-1", "9", "10")
    assert data.labels.tolist() == [2, -1, -1, -1, 0, 1]
    assert data.notes[0].endswith("labels.csv name items that are not in the folder; the first is line 3: 'gone.png'")
    assert data.notes[0].startswith("2 lines of ")
    assert "-1 is a class" in data.notes[1]
    named = open_data(pictures, labels=str(tmp_path / "labels.csv"), reading=Reading(missing=("-1",)))
    assert named.classes == ("9", "10")


def test_labels_named_none_and_na_are_labels(pictures, tmp_path):
    (tmp_path / "labels.csv").write_text("item,label\nant/0.png,None\nant/1.png,NA\nant/2.png,\n")
    data = open_data(pictures, labels=str(tmp_path / "labels.csv"))
    assert data.classes == ("NA", "None")
    assert data.labels.tolist() == [1, 0, -1, -1, -1, -1]


def test_a_path_with_a_colon_that_exists_is_a_path(pictures):
    moved = pictures.rename(pictures.with_name("run:test"))
    assert len(open_data(str(moved))) == 6


def test_a_folder_of_files_that_have_just_changed_is_waited_for_once(tmp_path, monkeypatch):
    now, waited = [0], []

    def sleep(seconds):
        waited.append(seconds)
        now[0] += round(seconds * 1e9)

    for number in range(30):
        save(tmp_path / f"{number}.png", number)
    now[0] = max(path.stat().st_ctime_ns for path in tmp_path.iterdir())
    monkeypatch.setattr(source, "time", SimpleNamespace(time_ns=lambda: now[0], sleep=sleep))
    marks = list_items(tmp_path, find("image")).marks
    assert 0 < sum(waited) <= source.TICK / 1e9
    assert marks == list_items(tmp_path, find("image")).marks
    assert len(set(marks)) == 30


def test_a_broken_link_has_a_mark_and_is_left_out_with_its_reason(pictures):
    (pictures / "ant" / "broken.png").symlink_to("nowhere")
    assert "gone" in list_items(pictures, find("image")).marks
    [bad] = open_data(pictures, progress=False).bad
    assert (bad.id, bad.reason) == ("ant/broken.png", "missing")


def test_a_folder_beside_an_image_is_a_class_and_no_wrapper(tmp_path):
    root = lay_out(tmp_path / "x", "images/cat/a.png", "images/dog/b.png", "cover.png")
    data = open_data(root)
    assert (data.classes, data.ids) == (("images",), ["cover.png", "images/cat/a.png", "images/dog/b.png"])
    assert data.labels.tolist() == [-1, 0, 0]
    assert "1 image outside the class folders: without a label" in data.notes


def test_a_label_file_that_has_changed_is_read_again(pictures, tmp_path):
    labels = tmp_path / "labels.csv"
    for said in ("red", "blue"):
        labels.write_text(f"item,label\nant/0.png,{said}\nbee/5.png,green\n")
        data = open_data(pictures, labels=str(labels))
        assert data.classes[data.labels[0]] == said


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("seg_train", "seg_test"), ("train_1", "test_1")])
def test_a_split_without_class_folders_beside_one_that_has_them(tmp_path, train, test):
    root = lay_out(tmp_path / "x", f"{train}/{train}/cat/a.png", f"{train}/{train}/dog/b.png", f"{test}/{test}/1.png")
    data, held = open_data(root), open_data(f"{root}:test")
    assert (data.split, data.classes, data.labels.tolist()) == ("train", ("cat", "dog"), [0, 1])
    assert (held.split, held.ids) == ("test", [f"{test}/1.png"])
    assert (held.labels, held.classes) == (None, ())


def test_val_is_validation_before_dev(tmp_path):
    root = lay_out(tmp_path / "x", "train/a.png", "dev/b.png", "validation/c.png")
    assert open_data(f"{root}:val").split == "validation"
    assert open_data(f"{root}:dev").split == "dev"


def test_splits_within_classes_are_warned_of(tmp_path):
    root = lay_out(tmp_path / "x", "cat/train/a.png", "cat/test/b.png", "dog/train/c.png", "dog/test/d.png")
    data = open_data(root)
    assert data.classes == ("cat", "dog")
    assert any("the subfolders of each class have names of splits (test, train)" in note for note in data.notes)
    deeper = open_data(lay_out(tmp_path / "y", "cat/indoors/a.png", "dog/train/b.png"))
    assert not any("names of splits" in note for note in deeper.notes)


def test_measurements_in_a_labels_file_are_a_quantity(pictures, tmp_path):
    (tmp_path / "ages.csv").write_text("item,label\nant/0.png,3.5\nant/1.png,10.25\nbee/3.png,-1\n")
    data = open_data(pictures, labels=str(tmp_path / "ages.csv"))
    assert data.measured
    np.testing.assert_array_equal(data.quantity, [3.5, 10.25, np.nan, -1, np.nan, np.nan])
