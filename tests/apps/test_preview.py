import numpy as np
import pytest
from PIL import Image

from salience.apps.preview import preview
from salience.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


def test_the_default_file_is_named_after_method_and_source(tmp_path):
    path = preview("simclr", "digits", items=2, draws=2)
    assert (tmp_path / path).name == "views-simclr-digits.png"
    assert pixels(path).std() > 20


def test_equal_seeds_draw_equal_pictures_and_other_seeds_others(tmp_path):
    a = pixels(preview("simclr", "digits", tmp_path / "a.png", items=2, draws=2))
    b = pixels(preview("simclr", "digits", tmp_path / "b.png", items=2, draws=2))
    c = pixels(preview("simclr", "digits", tmp_path / "c.png", items=2, draws=2, seed=1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_policy_changes_what_is_seen(tmp_path):
    a = pixels(preview("simclr", "digits", tmp_path / "a.png", items=2, draws=2))
    b = pixels(preview("simclr", "digits", tmp_path / "b.png", items=2, draws=2, views="grey"))
    assert not np.array_equal(a, b)


def test_a_method_without_views_shows_the_items(tmp_path):
    assert preview("pca", "digits", tmp_path / "a.svg", items=2).exists()
    with pytest.raises(UserError, match="--views: pca draws no views"):
        preview("pca", "digits", tmp_path / "b.png", views="glyphs")


def test_rows_of_a_table_are_drawn(tmp_path):
    table = np.random.default_rng(0).normal(size=(20, 5))
    assert pixels(preview("simclr", table, tmp_path / "a.png", items=3, draws=3)).std() > 20


@pytest.mark.parametrize(
    ("out", "views", "complaint"),
    [
        ("taken.png", None, "--out: .*taken.png exists"),
        ("a.txt", None, "--out: .*a.txt is no picture; end it in .png"),
        ("a.png", "glyfs", "glyphs"),
    ],
)
def test_mistakes_name_the_argument(tmp_path, out, views, complaint):
    (tmp_path / "taken.png").touch()
    with pytest.raises(UserError, match=complaint):
        preview("simclr", "digits", tmp_path / out, views=views)
