"""Similarity of images in [0, 1], per item: PSNR and SSIM.

    PSNR = -10 log10 mean (x - y)^2                                                  in dB, at most 100
    SSIM = mean over windows of  (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2))

Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861: m, s^2 and s_xy are means, variances and the covariance under
an 11x11 Gaussian window of deviation 1.5, c1 = 0.01^2, c2 = 0.03^2; only windows inside the image count. For images
smaller than 11 pixels, the window is the largest odd one that fits. Channels are compared separately.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, DEVIATION = 11, 1.5
LUMINANCE, CONTRAST = 0.01**2, 0.03**2
LEAST_ERROR = 1e-10  # PSNR is limited to 100 dB, so that the mean over items is finite


def squared_error(x: Tensor, y: Tensor) -> Tensor:
    """Compute the mean squared error of each item.  [n ...], [n ...] -> [n] float64"""
    return (x.double() - y.double()).square().flatten(1).mean(dim=1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Compute the PSNR in dB.  [n ...], [n ...] in [0, 1] -> [n] float64"""
    return -10 * squared_error(x, y).clamp(min=LEAST_ERROR).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute the SSIM, 1 for equal images.  [n c h w], [n c h w] in [0, 1] -> [n] float64"""
    window = _window(min(WINDOW, *x.shape[-2:]))
    x, y = x.double(), y.double()
    x_mean, y_mean = _smoothed(x, window), _smoothed(y, window)
    x_variance = _smoothed(x * x, window) - x_mean.square()
    y_variance = _smoothed(y * y, window) - y_mean.square()
    covariance = _smoothed(x * y, window) - x_mean * y_mean
    alike = (2 * x_mean * y_mean + LUMINANCE) * (2 * covariance + CONTRAST)
    most = (x_mean.square() + y_mean.square() + LUMINANCE) * (x_variance + y_variance + CONTRAST)
    return (alike / most).flatten(1).mean(dim=1)


def _window(side: int) -> Tensor:
    """Return the Gaussian window along one axis, [w] with w odd; it sums to 1."""
    width = side - (side + 1) % 2
    at = torch.arange(width, dtype=torch.float64) - width // 2
    window = torch.exp(-at.square() / (2 * DEVIATION**2))
    return window / window.sum()


def _smoothed(x: Tensor, window: Tensor) -> Tensor:
    """Compute the weighted means of all windows inside the image.  [n c h w] -> [n c h' w']"""
    rows = F.conv2d(x.flatten(0, 1)[:, None], window[None, None, :, None])
    return F.conv2d(rows, window[None, None, None, :])[:, 0].unflatten(0, x.shape[:2])
