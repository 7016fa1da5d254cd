"""Pictures that are no squares: height and width keep their places."""

from __future__ import annotations

import io
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import salience
from salience.store import Store, open_store
from salience.verbs.pictures import sheet
from salience.verbs.stores import thumbnails
from salience.verbs.super_resolve import Shown, bicubic

SHAPES = [(10, 20), (20, 10)]


@pytest.fixture(scope="module")
def embedded(runs, photos, tmp_path_factory) -> Path:
    return salience.embed_to(runs["pca"], photos, tmp_path_factory.mktemp("stores") / "photos.lance", progress=False)


def image(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 200, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def png(height: int, width: int) -> bytes:
    file = io.BytesIO()
    image(height, width).save(file, "PNG")
    return file.getvalue()


def with_pictures(store: Path, place: Path, files: list[bytes | None]) -> Store:
    """The same items, of which the first have these pictures in turn."""
    table = lance.dataset(str(store)).to_table()
    at = table.column_names.index("thumbnail")
    cells = [files[row % len(files)] for row in range(len(table))]
    lance.write_dataset(table.set_column(at, table.schema.field(at), pa.array(cells, pa.binary())), str(place))
    return open_store(place)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_query_is_shown_in_the_shape_of_the_hits(embedded, photos, shape, tmp_path, monkeypatch):
    store, shown = with_pictures(embedded, tmp_path / "others.lance", [png(*shape)]), []
    monkeypatch.setattr(
        "salience.verbs.search.sheet", lambda strips, *a, **o: shown.extend(strips) or sheet(strips, *a, **o)
    )
    for number, query in enumerate((photos / "cat" / "03.png", "cat/03.png")):
        salience.search(store, query, k=2, out=tmp_path / f"{number}")
    assert [(strip.name, strip.x.shape[2:]) for strip in shown] == [("query", shape), ("nearest", shape)] * 2


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_of_several_shapes_are_brought_to_that_of_the_first(embedded, shape, tmp_path):
    files = [None, png(*shape), png(*shape[::-1]), png(5, 5)]
    found = thumbnails(with_pictures(embedded, tmp_path / "others.lance", files), range(4))
    assert found.shape == (4, 3, *shape)
    assert (found[0] == 1).all()
    for row, own in enumerate((shape, shape[::-1], (5, 5)), 1):
        expected = np.asarray(image(*own).resize(shape[::-1])).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


def square(x: torch.Tensor, height: int, width: int, side: int) -> torch.Tensor:
    """The middle of an image of this height and width, in so many pixels a side, white where there is none."""
    top, left = (max(0, (size - side) // 2) for size in (height, width))
    scale = x.shape[1] // height
    top, left, side = scale * top, scale * left, scale * side
    part = x[:, top : top + side, left : left + side]
    found = torch.ones(len(x), side, side)
    found[:, : part.shape[1], : part.shape[2]] = part
    return found


@pytest.mark.parametrize(("height", "width"), [(3, 9), (9, 3), (12, 7), (7, 12), (4, 4)])
def test_the_middle_of_an_image_of_any_shape_is_shown_on_white(height, width):
    x = torch.rand(1, height, width, generator=torch.Generator().manual_seed(0)) * 0.9
    made = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
    shown = Shown(2, 6)
    shown.add(x, made)
    for strip, whole in zip(shown.strips(), (x, bicubic(x[None], 2)[0], made), strict=True):
        torch.testing.assert_close(strip.x[0], square(whole, height, width, 6))
