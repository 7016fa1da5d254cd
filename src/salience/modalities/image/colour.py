"""Brightness, contrast, saturation and hue of whole batches, with a separate strength for each item.

Every operation equals torchvision.transforms.v2.functional on float images, including the clamping. An operation is
skipped for an item by a neutral strength (factor 1, shift 0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from salience.views.random import Keys

_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114  # ITU-R 601-2, as torchvision and Pillow

_XYZ = (  # from linear red, green and blue; the sums of the rows are the white D65
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)


def luma(x: Tensor) -> Tensor:
    """Compute the luma of RGB images, or the mean of other channels.  [n c h w] -> [n 1 h w]"""
    if x.shape[1] != 3:
        return x if x.shape[1] == 1 else x.mean(1, keepdim=True)
    return (x[:, 0] * _RED).add_(x[:, 1], alpha=_GREEN).add_(x[:, 2], alpha=_BLUE)[:, None]


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Compute clamp(factor x).  x: [n c h w], factor: [n]"""
    return (x * _each(factor)).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Interpolate between the mean luma of the image and its pixels.  x: [n c h w], factor: [n]"""
    factor = _each(factor)
    return torch.addcmul((1 - factor) * luma(x).mean((1, 2, 3), keepdim=True), x, factor).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Interpolate between the luma of each pixel and its colour.  x: [n 3 h w], factor: [n], 0 is grey"""
    return torch.lerp(luma(x), x, _each(factor)).clamp_(0, 1)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Shift the hue.  x: [n 3 h w], shift: [n] in turns, -0.5 .. 0.5

    Computed without a conversion to HSV: with v the largest value, d = largest - smallest and h the hue in turns, red,
    green and blue become v - d clamp(2 - 6 |t|, 0, 1), where t is h + 1/2, h + 1/6, h - 1/6, wrapped to [-1/2, 1/2].
    """
    value = x.amax(1, keepdim=True)
    spread = value - x.amin(1, keepdim=True)
    t = _hue(x, value, spread).add_(_each(shift)) + x.new_tensor([1 / 2, 1 / 6, -1 / 6]).reshape(3, 1, 1)
    share = t.sub_(t.round()).abs_().mul_(-6).add_(2).clamp_(0, 1)
    return torch.addcmul(value, spread, share, value=-1)


def _hue(x: Tensor, value: Tensor, spread: Tensor) -> Tensor:
    """Compute the hue in turns, [n 1 h w], of x [n 3 h w] with its largest channel and its spread, [n 1 h w].

    (g - b) / 6d where red is largest, else (b - r) / 6d + 1/3 where green is, else (r - g) / 6d + 2/3. Signs and lerp
    choose between them: torch.where runs one element at a time on a CPU.
    """
    red, green, blue = x.split(1, dim=1)
    not_red, not_green = (value - red).sign_(), (value - green).sign_()  # 0 or 1
    difference = torch.lerp(green - blue, torch.lerp(blue - red, red - green, not_green), not_red)
    third = not_green.add_(1).mul_(not_red)  # 0, 1 or 2
    return difference.div_(spread.clamp(min=1e-12)).mul_(1 / 6).add_(third, alpha=1 / 3)


def lab(rgb: Tensor) -> Tensor:
    """Convert sRGB on the unit scale to CIE 1976 L*a*b* under D65, scaled to [0, 1].  [n 3 h w] -> [n 3 h w]

    The channels are L* / 100, a* / 256 + 1/2 and b* / 256 + 1/2, so that a grey has 1/2 in the last two.
    https://en.wikipedia.org/wiki/CIELAB_color_space; matrix and white: IEC 61966-2-1, http://www.brucelindbloom.com
    """
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    red, green, blue = linear.unbind(1)  # no matrix product: autocast would round it to eight bits
    x, y, z = (_lightness(red * r + green * g + blue * b, r + g + b) for r, g, b in _XYZ)
    return torch.stack([1.16 * y - 0.16, (x - y) * (500 / 256) + 0.5, (y - z) * (200 / 256) + 0.5], dim=1)


def _lightness(value: Tensor, white: float) -> Tensor:
    """Compute the cube root of value / white, continued linearly below (6/29)^3."""
    share, bend = value / white, (6 / 29) ** 3
    return share.clamp(min=bend) ** (1 / 3) + (share.clamp(max=bend) - bend) / (3 * (6 / 29) ** 2)


def jitter(x: Tensor, keys: Keys, *, strength: tuple[float, float, float, float], probability: float) -> Tensor:
    """Apply colour jitter in the order brightness, contrast, saturation, hue (the last two only to 3 channels).

    torchvision also shuffles the order; here it is fixed, because each item would need its own order.  x: [n c h w]
    """
    drawn = keys.fold("jitter").uniform(5)
    kept = (drawn[:, :1] < probability).to(x.dtype)
    change = (2 * drawn[:, 1:] - 1) * x.new_tensor(strength) * kept  # [n 4]: brightness, contrast, saturation, hue
    factor = (1 + change[:, :3]).clamp(min=0)
    x = adjust_contrast(adjust_brightness(x, factor[:, 0]), factor[:, 1])
    return x if x.shape[1] != 3 else adjust_hue(adjust_saturation(x, factor[:, 2]), change[:, 3])


def random_grey(x: Tensor, keys: Keys, *, probability: float) -> Tensor:
    """Convert random images to grey.  x: [n 3 h w]"""
    return torch.where(_each(keys.fold("grey").chance(probability)), luma(x), x)


def _each(per_sample: Tensor) -> Tensor:
    return per_sample[:, None, None, None]
