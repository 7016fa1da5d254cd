import numpy as np
import pytest
import torch
from PIL import Image

from salience.data import open_data
from salience.errors import UserError
from salience.verbs.pictures import set_title
from salience.verbs.preview import _draws, _image_figure, preview
from salience.views import make_views


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
    with pytest.raises(UserError, match="views: pca does not use views"):
        preview("pca", "digits", tmp_path / "b.png", views="glyphs")


def test_rows_of_a_table_are_drawn(tmp_path):
    table = np.random.default_rng(0).normal(size=(20, 5))
    assert pixels(preview("simclr", table, tmp_path / "a.png", items=3, draws=3)).std() > 20


@pytest.mark.parametrize(
    ("out", "views", "complaint"),
    [
        ("taken.png", None, "out: .*taken.png exists"),
        ("a.txt", None, "out: .*a.txt is not an image file; the name must end in .png"),
        ("a.png", "glyfs", "glyphs"),
    ],
)
def test_mistakes_name_the_argument(tmp_path, out, views, complaint):
    (tmp_path / "taken.png").touch()
    with pytest.raises(UserError, match=complaint):
        preview("simclr", "digits", tmp_path / out, views=views)


@pytest.mark.parametrize("columns", [1, 7])
@pytest.mark.parametrize("title", ["pca on digits: items as they are, seed 0", "short", "a name of many letters " * 5])
def test_the_title_is_not_cut_off(columns, title):
    figure = _image_figure([("as stored", torch.rand(2, 1, 8, 8))] * columns)
    set_title(figure, title)
    figure.draw_without_rendering()
    extent = figure._suptitle.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1
    assert figure.get_figwidth() >= 1.1 * columns


@pytest.mark.parametrize(("roles", "count", "epochs"), [({"global": 2}, 6, 3), ({"global": 2}, 5, 3), ({"a": 4}, 2, 1)])
def test_no_more_views_are_drawn_than_shown(roles, count, epochs):
    dataset = open_data("digits", progress=False)
    views, calls = make_views("glyphs", dataset.spec, roles=roles), []
    views.register_forward_hook(lambda *_: calls.append(1))
    drawn = list(_draws(views, dataset.batch(np.arange(2)), 0, count))
    assert len(drawn) == count
    assert len(calls) == epochs


def test_the_views_of_each_epoch_and_seed_are_others():
    dataset = open_data("digits", progress=False)
    views = make_views("glyphs", dataset.spec, roles={"global": 2})
    first, other = (
        [x for _, x in _draws(views, dataset.batch(np.arange(8)), seed, 6)] for seed in (0, 1)
    )  # three epochs of two views
    for one in range(6):
        assert not torch.equal(first[one], other[one])
        assert not any(torch.equal(first[one], first[two]) for two in range(one))


def test_items_are_drawn_by_the_seed_at_the_resolution_asked_for(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "salience.verbs.preview._image_figure", lambda views: drawn.append(views) or _image_figure(views)
    )
    for seed in (0, 1):
        preview("pca", "digits", tmp_path / f"{seed}.png", items=4, seed=seed, resolution=16)
    x = open_data("digits", resolution=16, progress=False).x
    for seed, [(name, shown)] in enumerate(drawn):
        rows = np.random.default_rng(seed).permutation(len(x))[:4]
        assert name == "as stored"
        np.testing.assert_allclose(shown, x[rows] / np.float32(255), atol=1e-6)
    assert not torch.equal(drawn[0][0][1], drawn[1][0][1])
