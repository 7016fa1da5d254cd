"""Encoded images as users have them: not square, transparent, of several pages, turned; read again by a run."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import salience
from salience.config import Config
from salience.data import open_data
from salience.errors import UserError
from salience.explorer.pictures import open_image
from salience.reading import Reading


def bands(width=96, height=32, vertical=False):
    """Red, green and blue bands, from left to right or from top to bottom."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for band in range(3):
        pixels[:, band * width // 3 : (band + 1) * width // 3, band] = 255
    return Image.fromarray(pixels.transpose(1, 0, 2) if vertical else pixels)


def noise(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 20, 3), np.uint8))


def png(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(x):
    """Which of red, green and blue are seen in an image [3 h w]."""
    bright = (x > 200) & (x.sum(0) < 400)
    return "".join(name for name, seen in zip("rgb", bright.any((1, 2)), strict=True) if seen)


def in_a_folder(images, path):
    path.mkdir()
    for number, image in enumerate(images):
        image.save(path / f"{number}.png")
    return str(path)


def as_source(kind, path):
    """Four panoramas, two of them upright, in each of the forms that images come in."""
    images = [bands(), bands(), bands(vertical=True), bands(vertical=True)]
    wide = np.stack([np.asarray(bands())] * 4)
    encoded = [{"bytes": png(image), "path": None} for image in images]
    if kind == "folder":
        return in_a_folder(images, path)
    if kind == "parquet":
        pd.DataFrame({"image": encoded}).to_parquet(path.with_suffix(".parquet"))
        return str(path.with_suffix(".parquet"))
    if kind == "npy":
        np.save(path.with_suffix(".npy"), wide)
        return str(path.with_suffix(".npy"))
    forms = {"n h w c": wide, "n c h w": wide.transpose(0, 3, 1, 2), "frame": pd.DataFrame({"image": encoded})}
    return forms[kind]


KINDS = ["folder", "parquet", "npy", "n h w c", "n c h w", "frame"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_aspect_is_obeyed_wherever_images_come_from(kind, tmp_path):
    source = as_source(kind, tmp_path / "x")
    seen = {
        aspect: open_data(source, resolution=24, reading=Reading(aspect=aspect), progress=False)
        for aspect in (None, "crop", "pad", "stretch")
    }
    np.testing.assert_array_equal(seen[None].x, seen["crop"].x)
    for image in seen["crop"].x:
        assert colours(image[:, 4:-4, 4:-4]) == "g"
    for aspect in ("pad", "stretch"):
        assert {colours(image) for image in seen[aspect].x} == {"rgb"}
    assert (seen["stretch"].x[0][:, 0] == seen["stretch"].x[0][:, 12]).all()
    assert not (seen["pad"].x[0][:, 0] == seen["pad"].x[0][:, 12]).all()
    for aspect, words in (("crop", "the centre cropped"), ("pad", "the longer side to 24"), ("stretch", "stretched")):
        assert words in seen[aspect].notes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_reads_new_images_as_it_read_the_first(kind, tmp_path):
    source = as_source(kind, tmp_path / "x")
    for aspect in ("crop", "pad", "stretch"):
        reading = Reading(aspect=aspect)
        data = open_data(source, resolution=24, reading=reading, progress=False)
        again = open_data(source, spec=data.spec, reading=reading, progress=False)
        np.testing.assert_array_equal(again.x, data.x)
        assert again.notes == data.notes
    assert len({open_data(source, spec=data.spec, reading=Reading(aspect=a), progress=False).fingerprint
                for a in ("crop", "pad", "stretch")}) == 3  # fmt: skip


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_a_run_keeps_its_aspect_for_other_data_and_for_one_image(aspect, tmp_path):
    folder = in_a_folder([bands(), bands(vertical=True), bands(80, 40)], tmp_path / "x")
    rep = salience.fit(
        "pca", folder, dim=2, resolution=24, out=tmp_path / "run", reading=Reading(aspect=aspect), progress=False
    )
    rep = salience.load(tmp_path / "run")
    array = rep.open(np.asarray(bands())[None], progress=False).x[0]
    dropped = open_image(png(bands()), rep).x[0]
    frame = rep.open(pd.DataFrame({"image": [png(bands())]}), progress=False).x[0]
    for found in (array, dropped, frame):
        assert colours(found[:, 4:-4, 4:-4]) == ("g" if aspect == "crop" else "rgb")
        assert np.abs(found.astype(int) - rep.open(folder, progress=False).x[0]).max() <= 1
    other = rep.open(folder, reading=Reading(aspect="stretch"), progress=False)
    assert "stretched" in other.notes[0]


def test_a_run_of_before_stretches_one_image_too(tmp_path):
    folder = in_a_folder([bands(), bands(vertical=True), bands(80, 40)], tmp_path / "x")
    rep = salience.fit("pca", folder, dim=2, out=tmp_path / "run", progress=False)
    values = rep.config.to_dict()
    del values["reading"]
    rep.config = Config.from_dict(values)
    assert colours(open_image(png(bands()), rep).x[0]) == "rgb"


def test_square_images_are_the_same_under_every_aspect(tmp_path):
    rng = np.random.default_rng(0)
    folder = in_a_folder(
        [Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)) for _ in range(3)], tmp_path / "x"
    )
    for resolution in (None, 9):
        prints = {
            open_data(folder, resolution=resolution, reading=Reading(aspect=aspect), progress=False).fingerprint
            for aspect in ("crop", "pad", "stretch")
        }
        assert len(prints) == 1


def test_a_size_is_that_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "x").mkdir()
    for number in range(3):
        (tmp_path / "x" / f"{number}.jpg").write_bytes(png(bands(200, 100), "JPEG", exif=exif))
    [note] = open_data(str(tmp_path / "x"), progress=False).notes
    assert "all are 100x200" in note


def drawing(ink, level=None):
    """A cross of `ink` on a transparent ground."""
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[7:9, :] = pixels[:, 7:9] = (*ink, 255)
    return Image.fromarray(pixels)


WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (200, 30, 30)


@pytest.mark.parametrize(
    ("inks", "ground", "level", "note"),
    [
        ([BLACK] * 4, "white", 255, "transparent parts of 4 images show white"),
        ([WHITE] * 4, "black", 0, "transparent parts of 4 images show black, as 4 images would vanish on white"),
        ([WHITE, WHITE, RED, RED], "black", 0, "show black, as 2 images would vanish on white"),
        ([WHITE, BLACK, RED, RED], "grey", 128, "show grey, as 1 image would vanish on white"),
    ],
)
def test_transparent_images_are_shown_on_a_ground_they_differ_from(inks, ground, level, note, tmp_path):
    data = open_data(in_a_folder([drawing(ink) for ink in inks], tmp_path / "x"), progress=False)
    assert data.spec.ground == ground
    assert (data.x[:, :, 0, 0] == level).all()
    assert all(image.std() > 10 for image in data.x)
    [told] = data.notes
    assert note in told


def test_what_vanishes_all_the_same_is_listed(tmp_path):
    inks = [WHITE, BLACK, (128, 128, 128)] * 2 + [WHITE]
    data = open_data(in_a_folder([drawing(ink) for ink in inks], tmp_path / "x"), progress=False)
    assert data.spec.ground == "black"
    assert data.notes[1].startswith("2 images cannot be seen on the black background: 1.png, 4.png;")


def test_images_without_transparent_pixels_get_no_note(tmp_path):
    opaque = Image.new("RGBA", (16, 16), (255, 255, 255, 255))
    data = open_data(in_a_folder([opaque] * 3, tmp_path / "x"), progress=False)
    assert (data.spec.ground, data.notes) == ("white", ())


def test_the_ground_belongs_to_the_run(tmp_path):
    light = open_data(in_a_folder([drawing(WHITE)] * 4, tmp_path / "x"), progress=False)
    dark = open_data(in_a_folder([drawing(BLACK)] * 4, tmp_path / "y"), spec=light.spec, progress=False)
    assert (dark.x == 0).all()
    assert dark.notes[1].startswith("4 images cannot be seen on the black background: 0.png, 1.png, 2.png, …;")
    kept = type(light.spec).from_dict(light.spec.to_dict())
    assert kept.ground == "black"
    assert "ground" not in open_data(np.zeros((3, 8, 8), np.uint8), progress=False).spec.to_dict()


def test_further_pages_and_frames_are_named(tmp_path):
    (tmp_path / "x").mkdir()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    for name, kind in (("a.gif", "GIF"), ("b.tif", "TIFF"), ("c.webp", "WEBP"), ("d.png", "PNG")):
        (tmp_path / "x" / name).write_bytes(png(frames[0], kind, save_all=True, append_images=frames[1:]))
    frames[0].save(tmp_path / "x" / "e.png")
    data = open_data(str(tmp_path / "x"), progress=False)
    assert [colours(image) for image in data.x] == ["r"] * 5
    assert data.notes == (
        "4 images have several pages or frames, such as a.gif: only the first is read; save the others as "
        "separate files to read them too",
    )


def test_a_bad_image_among_good_ones_shifts_no_row_and_no_label(tmp_path):
    for label in "ab":
        (tmp_path / "x" / label).mkdir(parents=True)
    for number in range(6):
        path = tmp_path / "x" / "ab"[number > 2] / f"{number}.png"
        drawing((40 * number, 0, 0)).save(path)
    (tmp_path / "x" / "a" / "1.png").write_bytes(png(noise())[:400])  # breaks while it is decoded
    (tmp_path / "x" / "b" / "4.png").write_bytes(b"no image")  # at its header
    data = open_data(str(tmp_path / "x"), resolution=16, progress=False)
    assert list(data.ids) == ["a/0.png", "a/2.png", "b/3.png", "b/5.png"]
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert [int(image[0, 7, 7]) for image in data.x] == [0, 80, 120, 200]
    assert [item.id for item in data.bad] == ["a/1.png", "b/4.png"]


def test_the_warnings_of_pil_do_not_reach_the_user(tmp_path):
    (tmp_path / "x").mkdir()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\x01\x0f\0\x02\xff\xff\xff\xff\0\0\0\x10"
    for number in range(3):
        (tmp_path / "x" / f"{number}.jpg").write_bytes(png(bands(32, 32), "JPEG", exif=exif))
        bands(32, 32).quantize(8).save(tmp_path / "x" / f"{number}.png", transparency=bytes(range(8)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = open_data(str(tmp_path / "x"), progress=False)
    assert len(data) == 6
    assert not told


def test_a_decompression_bomb_is_one_bad_item(tmp_path, monkeypatch):
    folder = in_a_folder([bands(32, 32)] * 3, tmp_path / "x")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # as for a frame larger than the header says
    with pytest.raises(UserError, match=r"none of the 3 items can be read; the first, 0\.png: more pixels than"):
        open_data(folder, progress=False)
