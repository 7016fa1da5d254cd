"""Names from outside in figures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from salience.drawing import drawable
from salience.evaluation import figures
from salience.evaluation.compare import Comparison, Entry
from salience.verbs import pictures
from salience.verbs.pictures import Strip, sheet, table_figure

NAMES = (r"$\bad{$", "$x$", "a$b", r"\$5", "_hidden", "日本", "a" * 5000, "line\nbreak\x1b[31m", r"\frac{", "%", "")


def texts(svg: str) -> list[str]:
    return [text.replace("&amp;", "&") for text in re.findall(r">([^<>]*)</text>", svg)]


@pytest.mark.parametrize("name", NAMES[:6])
def test_a_class_is_called_in_figures_as_it_is(name: str) -> None:
    places, labels = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    assert name in [text.lstrip("\u200b") for text in texts(figures.projection(places, labels, ["other", name]))]
    drawn = texts(figures.confusion_matrix(np.ones((2, 2), int), ["other", name]))
    assert [text.lstrip("\u200b") for text in drawn].count(name) == 2


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_takes_every_name(name: str, tmp_path: Path) -> None:
    places, labels = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    figures.projection(places, labels, [name, "b"])
    figures.confusion_matrix(np.ones((2, 2), int), [name, "b"])
    figures.training_curves({"step": np.arange(3.0), name: np.arange(3.0)})
    images = torch.rand(2, 1, 4, 4)
    pictures.save(sheet([Strip(name, images, (name, name))], name), tmp_path / "sheet.png")
    rows = [(name, torch.rand(2, 3)), ("b", torch.rand(2, 3))]
    pictures.save(table_figure(rows, name, [name, name], [name, "x", "y"]), tmp_path / "table.svg")
    quality = {"linear": {"value": 0.5, "interval": [0.4, 0.6]}}
    entries = tuple(Entry(one, "m", "o", "t", quality, 1e9, 3.0) for one in (name, "b"))
    assert "<svg" in Comparison(entries, ()).plot()


def test_a_long_name_is_cut_and_a_formula_never_begins() -> None:
    assert len(drawable("a" * 5000)) == 120
    assert drawable("a" * 41, 40) == "a" * 39 + "…"
    assert drawable("$" * 5) == r"\$" * 5
    assert drawable("plain name") == "plain name"
