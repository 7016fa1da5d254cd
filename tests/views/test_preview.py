"""The picture of the views: originals first, then as many draws as asked, with the roles' names."""

import numpy as np
import torch

from salience.batch import Batch, Column, Progress, Spec
from salience.views import make_views
from salience.views.preview import draw

IMAGES = Spec("image", (3, 8, 8), "uint8", 0, 255)
TABLE = Spec("table", (2,), "float32", columns=(Column("age"), Column("city", "category", ("Basel", "Bern"))))


def test_images_one_row_per_item_originals_first():
    batch = Batch(torch.arange(3 * 192).remainder(256).to(torch.uint8).reshape(3, 3, 8, 8), torch.arange(3))
    views = make_views("natural", IMAGES, {"global": 2, "clean": 1})
    figure = draw(views, batch, IMAGES, Progress(), draws=4)
    assert len(figure.axes) == 3 * (1 + 4 + 4)
    titles = [axes.get_title(loc="left") for axes in figure.axes[:9]]
    assert titles == ["original", "global", "", "", "", "clean", "", "", ""]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    np.testing.assert_allclose(shown[0], batch.x[0].permute(1, 2, 0) / 255, atol=1e-6)
    drawn = views(batch, Progress())["global"][1].x[2].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(shown[2 * 9 + 2], drawn, atol=1e-6)  # third item, second draw: what the method gets


def test_a_table_is_a_heat_map_with_named_values():
    batch = Batch(torch.tensor([[0.5, 1.0], [2.0, 0.0]]), torch.arange(2))
    figure = draw(make_views(None, TABLE), batch, TABLE, Progress(), draws=2)
    maps = [axes for axes in figure.axes if axes.images]
    np.testing.assert_allclose(maps[0].images[0].get_array(), [[0.5, 0, 1], [2, 1, 0]])
    assert [label.get_text() for label in maps[0].get_xticklabels()] == ["age", "city=Basel", "city=Bern"]
