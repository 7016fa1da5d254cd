"""Which transparent images are looked at, and what is found of each, whatever pieces a source comes in."""

import numpy as np
import pytest

from salience.modalities.image import transparency
from salience.modalities.image.transparency import Transparency, survey

WHITE, BLACK = (np.array([[level] * 4, [1.0] * 4], np.float32) for level in (1.0, 0.0))


def pieces(blobs, size):
    return lambda: (blobs[start : start + size] for start in range(0, len(blobs), size))


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_each_image_is_found_at_its_own_row(size):
    blobs = [f"{row}" for row in range(20)]
    light = {3, 9, 18}
    asked = []

    def look(some):
        asked.extend(some)
        return ["damaged" if blob == "7" else None if blob == "8" else WHITE if int(blob) in light else BLACK
                for blob in some]  # fmt: skip

    candidates = np.array([0, 3, 7, 8, 9, 15, 18])
    seen = survey(candidates, pieces(blobs, size), look)
    assert asked == [str(row) for row in candidates]
    assert (seen.looked, seen.of) == (7, 7)
    assert seen.rows.tolist() == [0, 3, 9, 15, 18]  # 7 is damaged, and 8 has no transparent pixel
    assert seen.rows[seen.vanishing["white"]].tolist() == [3, 9, 18]
    assert seen.rows[seen.vanishing["black"]].tolist() == [0, 15]
    assert not seen.vanishing["grey"].any()


def test_of_many_images_some_from_the_whole_source_are_looked_at(monkeypatch):
    monkeypatch.setattr(transparency, "MOST", 5)
    seen = survey(np.arange(101), pieces([f"{row}" for row in range(101)], 10), lambda some: [BLACK] * len(some))
    assert (seen.looked, seen.of) == (5, 101)
    assert seen.rows.tolist() == [0, 25, 50, 75, 100]
    assert seen.notes("white", str)[0] == "transparent parts of 5 images of 5 examined show white"


def test_without_a_candidate_nothing_is_read():
    seen = survey(np.array([], int), lambda: pytest.fail("read"), lambda some: pytest.fail("looked at"))
    assert (seen.ground, seen.notes("white", str)) == ("white", ())


@pytest.mark.parametrize(("white", "of", "ground"), [(1, 100, "white"), (2, 100, "black"), (0, 5, "white")])
def test_one_in_a_hundred_may_vanish_on_white(white, of, ground):
    seen = survey(np.arange(of), pieces(list(range(of)), 9), lambda some: [(
        WHITE if row < white else np.array([[0.5] * 4, [1.0] * 4], np.float32)) for row in some])  # fmt: skip
    assert seen.ground == ground


@pytest.mark.parametrize(("lost", "shown"), [(3, "0, 1, 2"), (4, "0, 1, 2, …")])
def test_a_list_of_images_that_goes_on_says_so(lost, shown):
    seen = Transparency(9, 9, np.arange(9), {"white": np.arange(9) < lost})
    assert f"cannot be seen on the white background: {shown}; save" in seen.notes("white", str)[1]
