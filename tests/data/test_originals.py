"""Images at their own sizes: read as a run's spec says, and nothing of it shown on the side."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from salience.data import open_data
from salience.data.originals import open_originals, originals_in
from salience.errors import UserError
from salience.modalities.image import headers


def folder_of(path, pictures):
    """pictures: name -> image, or the bytes of a file"""
    path.mkdir()
    for name, picture in pictures.items():
        if isinstance(picture, bytes):
            (path / name).write_bytes(picture)
        else:
            picture.save(path / name)
    return str(path)


def grey(value, size=(9, 6)):
    return Image.new("L", size, value)


def cross(ink, size):
    """A line of `ink` on a transparent ground."""
    pixels = np.zeros((size[1], size[0], 4), np.uint8)
    pixels[2] = (*ink, 255)
    return Image.fromarray(pixels)


SPEC = open_data(np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8), progress=False).spec


@pytest.mark.parametrize(("ink", "ground", "level"), [((0, 0, 0), "white", 255), ((255, 255, 255), "black", 0)])
def test_what_is_transparent_shows_the_ground_of_the_run(ink, ground, level, tmp_path):
    run = open_data(folder_of(tmp_path / "x", {f"{n}.png": cross(ink, (8, 8)) for n in "abc"}), progress=False).spec
    assert run.ground == ground
    originals = open_originals(
        folder_of(tmp_path / "y", {"wide.png": cross((200, 30, 30), (9, 5))}), run, progress=False
    )
    [image] = originals.read()
    assert image.shape == (3, 5, 9)
    assert (image[:, 0] == level).all()
    np.testing.assert_array_equal(image[:, 2, 0], [200, 30, 30])


def test_items_that_cannot_be_read_shift_no_other(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(whole, "PNG")
    source = folder_of(
        tmp_path / "x",
        {"a.png": grey(10), "b.png": b"no image", "c.png": grey(30, (5, 7)), "d.png": whole.getvalue()[:500],
         "e.png": grey(50)},
    )  # fmt: skip
    originals = open_originals(source, SPEC, progress=False)
    assert list(originals.ids) == ["a.png", "c.png", "e.png"]
    assert originals.sizes.tolist() == [[6, 9], [7, 5], [6, 9]]
    assert [int(image.max()) for image in originals.read()] == [10, 30, 50]
    assert [image.shape[1:] for image in originals.read()] == [(6, 9), (7, 5), (6, 9)]  # each time it is asked
    assert [bad.id for bad in originals.bad] == ["b.png", "d.png"]
    assert not originals.alike
    with pytest.raises(UserError, match=r"none of 1 item can be read; the first, b\.png: "):
        open_originals(folder_of(tmp_path / "y", {"b.png": b"no image"}), SPEC, progress=False)


def test_the_warnings_of_pil_do_not_reach_the_user(tmp_path):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\x01\x0f\0\x02\xff\xff\xff\xff\0\0\0\x10"
    file = io.BytesIO()
    Image.new("RGB", (9, 6), "red").save(file, "JPEG", exif=exif)
    source = folder_of(tmp_path / "x", {"a.jpg": file.getvalue()})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        headers.probe(file.getvalue())
    assert told, "PIL warns of this file no longer: find another"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        originals = open_originals(source, SPEC, progress=False)
        assert [image.shape for image in originals.read()] == [(1, 6, 9)]  # turned by 180 degrees
    assert not told


def test_colour_is_brought_to_the_channels_of_the_run_and_told(tmp_path):
    source = folder_of(tmp_path / "x", {"a.png": Image.new("RGB", (9, 6), (10, 10, 10)), "b.png": grey(40)})
    originals = open_originals(source, SPEC, progress=False)
    assert [image.shape for image in originals.read()] == [(1, 6, 9)] * 2
    assert [int(image.max()) for image in originals.read()] == [10, 40]
    assert originals.notes == ("1 image converted to grey, as in training",)


def test_what_was_opened_already_is_as_it_is_stored():
    data = open_data(np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8), progress=False).subset([2, 0])
    originals = originals_in(data)
    np.testing.assert_array_equal(np.stack(list(originals.read())), data.x)
    assert list(originals.ids) == ["2", "0"]
    assert originals.alike
    assert len(originals) == 2
