"""Whether mirrored and turned images can be told from others, on data whose symmetry is known."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from salience.data import open_data
from salience.modalities.image import symmetry
from salience.modalities.image.symmetry import HARMLESS, LEAST_ROWS, choose_variant, detectability, mirrored, turned


def textures(n, seed=0):
    """Smooth noise: it has neither a left nor an up."""
    noise = torch.randn(n, 1, 20, 20, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 5, stride=1)[..., :12, :12]


def pictures(kind, n=400):
    """[n 1 12 12] uint8, of data with a known symmetry."""
    x = textures(n)
    row = torch.linspace(-1, 1, 12)
    if kind == "with an up":  # lighter above, as photographs are; left and right do not differ
        x = x - row[:, None]
    if kind == "with a left":
        x = x - row
    return (x * 30 + 128).clamp(0, 255).to(torch.uint8).numpy()


@pytest.mark.parametrize(
    ("kind", "variant", "told"),
    [
        ("like textures", "-turns", "flips and quarter turns"),
        ("with an up", "", "flips, no quarter turns"),
        ("with a left", "-noflip", "no flips"),
    ],
)
def test_the_variant_follows_the_symmetry_of_the_data(kind, variant, told):
    found = choose_variant(open_data(pictures(kind), progress=False), "grey")
    assert found.variant == variant
    assert found.reason.startswith(told + ":")
    assert "AUC " in found.reason
    assert "--views grey" in found.reason


def test_a_digit_cannot_be_mirrored_unnoticed():
    images = load_digits().images.astype(np.uint8)
    found = choose_variant(open_data(images, progress=False), "grey")
    assert found.variant == "-noflip"
    assert "AUC 0.99" in found.reason
    assert "--views glyphs" in found.reason


def test_what_the_test_cannot_see_is_said():
    assert "if classes mirror each other" in choose_variant(open_data(pictures("with an up")), "grey").reason


def test_equal_data_give_an_equal_answer():
    data = open_data(pictures("with an up"), progress=False)
    assert choose_variant(data, "grey") == choose_variant(data, "grey")


def test_few_images_are_not_tested(monkeypatch):
    monkeypatch.setattr(symmetry, "detectability", lambda *rows: pytest.fail("tested"))
    found = choose_variant(open_data(pictures("with a left", LEAST_ROWS - 1), progress=False), "grey")
    assert found.variant == ""
    assert "199 images are too few" in found.reason


def test_200_images_are_enough_to_be_tested():
    found = choose_variant(open_data(pictures("with a left", LEAST_ROWS), progress=False), "grey")
    assert LEAST_ROWS == 200
    assert "AUC " in found.reason


def test_many_images_are_sampled(monkeypatch):
    seen = []
    monkeypatch.setattr(symmetry, "detectability", lambda *rows: seen.append(rows) or 0.5)
    monkeypatch.setattr(symmetry, "MOST_ROWS", 100)
    x = np.arange(240, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    choose_variant(open_data(x, progress=False), "grey")
    for plain, changed in seen:
        assert len(plain) == len(changed) == 50
        assert not set(plain[:, 0]) & set(changed[:, 0])  # different items


@pytest.mark.parametrize(
    ("flip", "turn", "variant"), [(0.599, 0.599, "-turns"), (0.599, 0.6, ""), (0.6, 0.5, "-noflip")]
)
def test_the_threshold(flip, turn, variant, monkeypatch):
    figures = iter([flip, turn])
    monkeypatch.setattr(symmetry, "detectability", lambda *rows: next(figures))
    assert choose_variant(open_data(pictures("with an up"), progress=False), "grey").variant == variant
    assert HARMLESS == 0.6


def test_mirrored_and_turned():
    x = torch.arange(4).reshape(1, 1, 2, 2)
    assert mirrored(x).flatten().tolist() == [1, 0, 3, 2]
    assert turned(x).flatten().tolist() == [1, 3, 0, 2]


def test_rows_of_one_kind_cannot_be_told_apart_and_shifted_ones_can():
    """On rows that were trained on, the classifier would reach 0.8 and more."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500, 30))
    assert abs(detectability(a, b) - 0.5) < 4 * 0.0183  # sqrt(1 / (6 * 500))
    assert detectability(a, b + 1) > 0.95
    assert detectability(a, b) == detectability(a, b)


def test_rows_may_be_narrow_or_few():
    rng = np.random.default_rng(0)
    assert detectability(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)) + 20) == 1
    assert detectability(np.ones((6, 2)), np.ones((6, 2))) == 0.5
