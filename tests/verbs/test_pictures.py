import numpy as np
import pytest
import torch
from PIL import Image

from salience.modalities.table.spec import Column, TableSpec
from salience.verbs.pictures import Strip, grid_strips, save, save_image, sheet, table_figure, unit_columns


def drawn(figure, tmp_path) -> np.ndarray:
    save(figure, tmp_path / "a.png")
    return np.asarray(Image.open(tmp_path / "a.png").convert("L"))


def runs(line: np.ndarray) -> list[int]:
    """Lengths of stretches of one value."""
    ends = np.flatnonzero(np.diff(line)) + 1
    return np.diff(np.concatenate([[0], ends, [len(line)]])).tolist()


def test_each_pixel_is_drawn_as_large_as_the_next(tmp_path):
    checks = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    shown = drawn(sheet([Strip("a name", checks[None, None].float())], "title"), tmp_path)
    lines = [runs(line) for line in shown if (line == 0).sum() > 30 and (line == 255).sum() > 30]
    exact = [lengths for lengths in lines if lengths.count(10) >= 7]  # 84 pixels for 8, in whole ones
    assert len(exact) == 80


def test_images_of_two_sizes_become_tiles_of_one(tmp_path):
    shown = drawn(sheet([Strip("", torch.zeros(2, 1, 4, 4)), Strip("", torch.zeros(2, 1, 8, 8))], "t"), tmp_path)
    black = (shown == 0).sum(axis=1)
    assert set(black[black >= 160]) == {160}


@pytest.mark.parametrize("side", [3, 28, 100, 300])
def test_sheets_of_images_of_any_size(side, tmp_path):
    shown = drawn(sheet([Strip("x", torch.rand(3, 3, side, side))], "t"), tmp_path)
    assert 60 < shown.shape[0] < 400


def test_names_title_and_captions_are_not_cut_off():
    strips = [Strip("a name of many letters, " * 3, torch.zeros(1, 1, 8, 8), ["caption"])]
    figure = sheet(strips, "a title of many letters, " * 5)
    figure.draw_without_rendering()
    texts = [figure._suptitle, *figure.axes[0].texts]
    assert len(texts) == 3
    for text in texts:
        extent = text.get_window_extent()
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1
        assert extent.y0 >= 0
        assert extent.y1 <= figure.bbox.y1


def test_a_grid_holds_every_image_once():
    x = torch.arange(10.0)[:, None, None, None].expand(10, 1, 2, 2)
    strips = grid_strips(x)
    assert [len(strip.x) for strip in strips] == [4, 4, 2]
    assert torch.equal(torch.cat([strip.x for strip in strips]), x)
    assert [len(strip.x) for strip in grid_strips(x, 8)] == [8, 2]


def test_an_image_is_saved_as_it_is(tmp_path):
    x = np.random.default_rng(0).random((3, 5, 5), np.float32)
    save_image(x, tmp_path / "a.png")
    stored = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(stored, np.rint(x.transpose(1, 2, 0) * 255))


def test_rows_of_a_table_with_their_columns(tmp_path):
    columns = (Column("height"), Column("colour", "category", ("blue", "red")))
    names = unit_columns(TableSpec((2,), "float32", columns=columns))
    assert names == ["height", "colour: blue", "colour: red"]
    figure = table_figure([("original", torch.randn(2, 3)), ("rebuilt", torch.randn(2, 3))], "t", ["7", "8"], names)
    assert drawn(figure, tmp_path).std() > 20
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == names


def test_names_that_are_long_or_of_another_script_leave_room_and_are_silent(tmp_path, recwarn):
    figure = table_figure([("", torch.randn(1, 2))], "t", ["7"], ["日本", "w" * 200])
    save(figure, tmp_path / "a.png")
    assert not recwarn.list
    figure.draw_without_rendering()
    height = figure.get_figheight() * figure.dpi
    assert figure.axes[0].get_window_extent().height > 0.3 * height
    label = figure.axes[1].yaxis.label.get_window_extent()
    assert (label.y0, label.y1) == (pytest.approx(label.y0.clip(0)), pytest.approx(min(label.y1, height)))
