import math

import numpy as np
import pytest
import torch

from salience.evaluation.reconstruction import fidelity, means
from salience.modalities import find
from salience.modalities.image.similarity import psnr, squared_error, ssim


def images(n=3, c=1, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, c, side, side, generator=generator, dtype=torch.float64)
    return x, (x + 0.2 * torch.randn(x.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)


def loop_ssim(x, y, width):
    """One window after the other, from the paper's formula.  [h w] each"""
    half = width // 2
    window = np.array(
        [[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-half, half + 1)] for i in range(-half, half + 1)]
    )
    window /= window.sum()
    values = []
    for i in range(half, x.shape[0] - half):
        for j in range(half, x.shape[1] - half):
            a = x[i - half : i + half + 1, j - half : j + half + 1]
            b = y[i - half : i + half + 1, j - half : j + half + 1]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            shared = (window * (a - ma) * (b - mb)).sum()
            alike = (2 * ma * mb + 0.01**2) * (2 * shared + 0.03**2)
            values.append(alike / ((ma**2 + mb**2 + 0.01**2) * (va + vb + 0.03**2)))
    return np.mean(values)


@pytest.mark.parametrize(("side", "width"), [(16, 11), (11, 11), (8, 7), (7, 7), (4, 3)])
def test_ssim_is_the_papers_window_by_window(side, width):
    x, y = images(2, 3, side)
    pairs = [[(x[i, c].numpy(), y[i, c].numpy()) for c in range(3)] for i in range(2)]
    expected = [np.mean([loop_ssim(a, b, width) for a, b in channels]) for channels in pairs]
    np.testing.assert_allclose(ssim(x, y).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_equal_to_torchmetrics(channels):
    functional = pytest.importorskip("torchmetrics.functional.image")
    x, y = images(4, channels, 24)
    _, map_ = functional.structural_similarity_index_measure(
        y, x, data_range=1.0, reduction="none", return_full_image=True
    )
    within = map_[..., 5:-5, 5:-5].flatten(1).mean(1)  # it counts windows across a mirrored border too
    torch.testing.assert_close(ssim(x, y), within, rtol=1e-5, atol=1e-6)
    for one, other, value in zip(x, y, psnr(x, y), strict=True):
        torch.testing.assert_close(value, functional.peak_signal_noise_ratio(other, one, data_range=1.0))


def test_ssim_is_1_of_equal_images_symmetric_and_negative_of_a_negative():
    x, y = images()
    torch.testing.assert_close(ssim(x, x), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(ssim(x, y), ssim(y, x))
    assert (ssim(x, y) < 1).all()
    assert (ssim(x, 1 - x) < 0).all()


def test_psnr_of_a_known_error():
    x = torch.full((2, 1, 8, 8), 0.5)
    torch.testing.assert_close(psnr(x, x + 0.1), torch.full((2,), 20.0, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(psnr(x, x), torch.full((2,), 100.0, dtype=torch.float64))


def test_a_table_has_a_squared_error_alone():
    x = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    assert list(fidelity(x, torch.zeros(2, 2), find("table"))) == ["mse"]
    torch.testing.assert_close(squared_error(x, torch.zeros(2, 2)), torch.tensor([2.0, 1.0], dtype=torch.float64))


def test_means_come_with_intervals_within_the_range():
    found = means({"mse": np.array([0.0, 1.0]), "ssim": np.array([0.9, 1.0])})
    assert found["mse"].value == 0.5
    assert found["mse"].low == 0.0
    assert found["ssim"].high == 1.0
