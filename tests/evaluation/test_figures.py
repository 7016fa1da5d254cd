import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from salience.evaluation import figures
from salience.evaluation.report import Gallery
from salience.measures.intervals import Metric


def few_label(value):
    return {"few_label": {k: {"accuracy": Metric(value, value - 0.1, value + 0.1)} for k in ("1", "2", "5")}}


@pytest.mark.parametrize(
    "svg",
    [
        lambda: figures.few_label_curve({"representation": few_label(0.7), "raw": None}, {"representation": "ours"}),
        lambda: figures.projection(np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 4 - 1, list("abc")),
        lambda: figures.projection(np.zeros((3, 2)), np.full(3, -1), ()),
        lambda: figures.projection(np.zeros((90, 2)), np.arange(90) % 30, [str(i) for i in range(30)]),
        lambda: figures.confusion_matrix(np.eye(3, dtype=int), ["cat", "dog", "aeroplane"]),
        lambda: figures.confusion_matrix(np.eye(30, dtype=int), [str(i) for i in range(30)]),
        lambda: figures.training_curves({"step": np.arange(3.0), "loss": np.array([3.0, np.nan, 1.0])}),
    ],
)
def test_figures_are_svg_in_the_pages_colour(svg):
    text = svg()
    assert ET.fromstring(text).tag.endswith("svg")
    assert "currentColor" in text
    assert figures.INK not in text
    assert svg() == text  # no time, no chance


def test_names_from_outside_are_escaped():
    text = figures.confusion_matrix(np.eye(2, dtype=int), ["<script>", "a & b"])
    assert "<script>" not in text
    ET.fromstring(text)


def test_frames_say_whether_the_class_agrees():
    images = np.zeros((1, 4, 1, 8, 8), np.float32)
    png = figures.gallery_png(Gallery(images, np.array([[2, 2, 1, -1]])))
    sheet = np.asarray(Image.open(io.BytesIO(png)))
    step = figures.TILE + 10
    corners = [tuple(sheet[0, step * column + (14 if column else 0), :3]) for column in range(4)]
    assert corners == [figures.QUERY, figures.RIGHT, figures.WRONG, figures.QUERY]


def test_a_picture_is_shown_as_it_is():
    image = np.zeros((3, 8, 8), np.float32)
    image[0, 2, 5] = 1  # one red pixel
    sheet = np.asarray(Image.open(io.BytesIO(figures.gallery_png(Gallery(image[None, None], np.array([[-1]]))))))
    picture = sheet[3 : 3 + figures.TILE, 3 : 3 + figures.TILE, :3]
    size = figures.TILE // 8
    assert tuple(picture[2 * size + 1, 5 * size + 1]) == (255, 0, 0)
    assert (picture[..., 0] == 255).sum() == size * size
