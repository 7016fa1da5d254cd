import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from salience.data import open_data
from salience.errors import UserError
from salience.measures.intervals import Metric
from salience.methods.generative import conditional_gan
from salience.modalities.image.similarity import psnr, ssim
from salience.verbs.super_resolve import Shown, _verdict, bicubic, shrunk, super_resolve


def test_shrinking_takes_means_of_squares():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    torch.testing.assert_close(shrunk(x, 2), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]))


def test_bicubic_is_pillows_and_within_the_range():
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    theirs = Image.fromarray(x[0, 0].numpy()).resize((16, 16), Image.Resampling.BICUBIC)
    inner = (slice(4, 12), slice(4, 12))  # at borders the two treat what lies beyond differently
    found = bicubic(x, 2)[0, 0]
    assert np.abs(found.numpy()[inner] - np.asarray(theirs)[inner]).max() < 0.05  # its kernel has another parameter
    edge = bicubic(torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4), 2)
    assert edge.min() == 0
    assert edge.max() == 1


def test_figures_are_those_of_enlarged_shrunk_images(enlarger, digits, tmp_path):
    few = digits.subset(range(40))
    found = super_resolve(enlarger, few, tmp_path / "out", progress=False)
    x = torch.from_numpy(few.x / 255).float()
    made = torch.from_numpy(enlarger.enlarge(shrunk(x, 2)))
    np.testing.assert_allclose(found.table["run psnr"], psnr(x, made), rtol=1e-5)
    np.testing.assert_allclose(found.table["bicubic ssim"], ssim(x, bicubic(shrunk(x, 2), 2)), rtol=1e-5)
    gain = found.figures["gain over bicubic interpolation"]["psnr"]
    assert gain.value == pytest.approx((found.table["run psnr"] - found.table["bicubic psnr"]).mean())
    assert gain.low > 0
    assert "The run is better than bicubic interpolation" in found.text()
    stored = json.loads((tmp_path / "out" / "super-resolve.json").read_text())
    assert stored["about"]["factor"] == 2
    assert list(pd.read_csv(tmp_path / "out" / "items.csv", dtype=str)["item"]) == list(few.ids)
    assert (tmp_path / "out" / "picture.png").exists()


def test_images_as_they_are_become_larger_files(enlarger, digits, tmp_path):
    found = super_resolve(enlarger, digits.subset(range(3)), tmp_path / "out", as_is=True, progress=False)
    stored = np.load(tmp_path / "out" / "enlarged.npy")
    assert stored.shape == (3, 1, 16, 16)
    np.testing.assert_array_equal(found.arrays["enlarged"], stored)
    np.testing.assert_allclose(stored, enlarger.enlarge(digits.x[:3] / 255), atol=1e-6)
    files = pd.read_csv(tmp_path / "out" / "enlarged.csv")
    pixels = np.asarray(Image.open(tmp_path / "out" / files["file"][2]))
    np.testing.assert_array_equal(pixels, np.rint(stored[2, 0] * 255))
    assert not found.figures


def test_as_they_are_images_keep_their_own_resolution(enlarger, tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (4, 20, 20), np.uint8)
    assert super_resolve(enlarger, x, as_is=True, progress=False).arrays["enlarged"].shape == (4, 1, 40, 40)
    colour = np.random.default_rng(0).integers(0, 255, (4, 3, 20, 20), np.uint8)
    found = super_resolve(enlarger, colour, as_is=True, progress=False)
    assert found.arrays["enlarged"].shape == (4, 1, 40, 40)
    assert found.said == ("note: all converted to grey, as in training",)
    with pytest.raises(UserError, match="source: the array contains nan at row 2"):
        super_resolve(enlarger, np.stack([x[0] / 255, x[1] / 255, x[2] * np.nan]), as_is=True, progress=False)
    with pytest.raises(UserError, match=r"source: .* has 3 channels, the run 1"):
        super_resolve(enlarger, open_data(colour, progress=False), as_is=True, progress=False)


def test_as_they_are_files_of_any_size_keep_their_shape(enlarger, tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    shapes = {"a.png": (13, 21), "b.png": (13, 21), "c.png": (40, 9)}
    for name, shape in shapes.items():
        Image.fromarray(draw.integers(0, 255, shape, np.uint8)).save(tmp_path / "photos" / name)
    Image.fromarray(draw.integers(0, 255, (40, 9, 3), np.uint8)).save(tmp_path / "photos" / "c.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    found = super_resolve(enlarger, tmp_path / "photos", tmp_path / "out", as_is=True, progress=False)
    table = pd.read_csv(tmp_path / "out" / "enlarged.csv", index_col="item")
    assert list(table.index) == list(shapes)
    for name, (height, width) in shapes.items():
        pixels = np.asarray(Image.open(tmp_path / "photos" / name).convert("L")) / np.float32(255)
        written = np.asarray(Image.open(tmp_path / "out" / table["file"][name]))
        assert written.shape == (2 * height, 2 * width)
        np.testing.assert_array_equal(written, np.rint(enlarger.enlarge(pixels[None, None])[0, 0] * 255))
    assert not found.arrays
    assert "of 2 sizes; each is a file" in found.text()
    assert "note: 1 image converted to grey, as in training" in found.said
    assert (tmp_path / "out" / "picture.png").exists()
    with pytest.raises(UserError, match=r"^out: images of 2 sizes do not fit in one array"):
        super_resolve(enlarger, tmp_path / "photos", as_is=True, progress=False)
    (tmp_path / "photos" / "c.png").unlink()
    alike = super_resolve(enlarger, tmp_path / "photos", tmp_path / "alike", as_is=True, progress=False)
    assert alike.arrays["enlarged"].shape == (2, 1, 26, 42)
    array = draw.integers(0, 255, (3, 13, 21), np.uint8)
    assert super_resolve(enlarger, array, as_is=True, progress=False).arrays["enlarged"].shape == (3, 1, 26, 42)


def test_an_image_too_large_for_one_pass_is_enlarged_without_seams(enlarger, monkeypatch):
    x = torch.rand(1, 1, 70, 45, generator=torch.Generator().manual_seed(0))
    whole = enlarger.enlarge(x)
    monkeypatch.setattr(conditional_gan, "PART", 16)
    np.testing.assert_allclose(enlarger.enlarge(x), whole, atol=1e-6)
    monkeypatch.setattr(conditional_gan, "BEYOND_BLOCKS", 0)  # what the test is worth: seams show
    assert np.abs(enlarger.enlarge(x) - whole).max() > 1e-4


def test_one_image_has_figures_and_no_verdict(enlarger, digits, tmp_path):
    found = super_resolve(enlarger, digits.subset(range(1)), tmp_path / "out", progress=False)
    assert "One image is too few" in found.text()
    stored = json.loads((tmp_path / "out" / "super-resolve.json").read_text())
    assert stored["gain over bicubic interpolation"]["psnr"]["interval"] == [None, None]
    assert stored["the run"]["mse"]["interval"] == [0, None]


def test_images_of_another_size_are_said_to_be_resized(enlarger):
    x = np.random.default_rng(0).integers(0, 255, (4, 20, 30, 3), np.uint8)
    said = super_resolve(enlarger, x, progress=False).said
    resized = "note: resized to 8x8: the shorter side to 8, the centre cropped (all are 30x20; 67% of an image is kept)"
    assert any(line.startswith(resized) for line in said)
    assert "note: all converted to grey, as in training" in said


def test_an_image_is_enlarged_alike_in_any_company(enlarger, digits):
    x = torch.from_numpy(digits.x[:300] / 255).float()
    np.testing.assert_array_equal(enlarger.enlarge(x)[7:9], enlarger.enlarge(x[7:9]))


def test_what_does_not_enlarge_is_told_who_does(pca, digits, enlarger):
    with pytest.raises(UserError, match=r"^run: pca cannot super-resolve; fit one of the methods that can: cond"):
        super_resolve(pca, digits, progress=False)
    with pytest.raises(UserError, match="source: expected images, got table data in array"):
        super_resolve(enlarger, np.zeros((30, 4)) + np.arange(30)[:, None], as_is=True, progress=False)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ((0.5, 0.1, 0.9), "The run is better than bicubic interpolation by 0.50 dB."),
        ((-0.5, -0.9, -0.1), "The run is worse than bicubic interpolation by 0.50 dB."),
        ((0.1, -0.1, 0.3), "The run does not differ significantly from bicubic interpolation."),
        ((-0.1, -0.3, 0.1), "The run does not differ significantly from bicubic interpolation."),
    ],
)
def test_the_verdict_needs_an_interval_on_one_side(gain, said):
    assert _verdict(Metric(*gain)) == said


def test_the_middle_of_an_image_is_shown_beside_the_middle_of_what_is_made_of_it():
    x = torch.arange(100.0).view(1, 10, 10) / 100
    made = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
    shown = Shown(2, 4)
    shown.add(x, made)
    small, plain, large = (strip.x[0] for strip in shown.strips())
    torch.testing.assert_close(small, x[:, 3:7, 3:7])
    torch.testing.assert_close(large, made[:, 6:14, 6:14])
    torch.testing.assert_close(plain, bicubic(x[None], 2)[0, :, 6:14, 6:14])
