"""How a view is lit: brightness, contrast, saturation and hue of whole batches, each sample with its own strength.

Every operation equals torchvision.transforms.v2.functional on float images, clamping included. A strength that changes
nothing (factor 1, shift 0) stands for "not applied", so that no sample is set apart from its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from salience.views.random import Keys

_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114  # ITU-R 601-2, as torchvision and Pillow


def luma(x: Tensor) -> Tensor:
    """[n 3 h w] -> [n 1 h w]; one channel stays as it is."""
    if x.shape[1] == 1:
        return x
    return (x[:, 0] * _RED).add_(x[:, 1], alpha=_GREEN).add_(x[:, 2], alpha=_BLUE)[:, None]


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """x: [n c h w], factor: [n] -> clamp(factor x)"""
    return (x * _each(factor)).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Away from or towards the image's mean luma.  x: [n c h w], factor: [n]"""
    factor = _each(factor)
    return torch.addcmul((1 - factor) * luma(x).mean((1, 2, 3), keepdim=True), x, factor).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Away from or towards each pixel's luma.  x: [n 3 h w], factor: [n]; 0 makes it grey"""
    return torch.lerp(luma(x), x, _each(factor)).clamp_(0, 1)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the colour circle.  x: [n 3 h w], shift: [n] in turns, -0.5 .. 0.5

    HSV without the detour: with v the largest channel, d = largest - smallest and h the hue in sixths of a turn,
    channel k of (5, 3, 1) becomes v - d clamp(min(t, 4 - t), 0, 1), t = (k + h) mod 6.
    """
    red, green, blue = x.unbind(1)
    value = x.amax(1)
    spread = value - x.amin(1)
    unit = spread.clamp(min=1e-12)
    hue = torch.where(value == red, (green - blue) / unit, torch.where(value == green, (blue - red) / unit + 2, 0))
    hue = torch.where((value != red) & (value != green), (red - green) / unit + 4, hue) + 6 * shift[:, None, None]
    t = torch.remainder(hue[:, None] + torch.tensor([5.0, 3.0, 1.0], device=x.device).reshape(3, 1, 1), 6)
    return value[:, None] - spread[:, None] * torch.minimum(t, 4 - t).clamp(0, 1)


def jitter(x: Tensor, keys: Keys, *, strength: tuple[float, float, float, float], probability: float) -> Tensor:
    """Colour jitter in the order brightness, contrast, saturation, hue.  x: [n c h w]; a single channel has no colour.

    torchvision also shuffles the order; here it is fixed, since each sample would need its own.
    """
    brightness, contrast, saturation, hue = strength
    kept = keys.fold("jitter").chance(probability)
    x = adjust_brightness(x, _factor(keys.fold("brightness"), brightness, kept))
    x = adjust_contrast(x, _factor(keys.fold("contrast"), contrast, kept))
    if x.shape[1] == 1:
        return x
    x = adjust_saturation(x, _factor(keys.fold("saturation"), saturation, kept))
    return adjust_hue(x, torch.where(kept, keys.fold("hue").between(-hue, hue), 0.0)) if hue else x


def random_grey(x: Tensor, keys: Keys, *, probability: float) -> Tensor:
    """Some images lose their colour.  x: [n 3 h w]"""
    return torch.where(_each(keys.fold("grey").chance(probability)), luma(x), x)


def _each(per_sample: Tensor) -> Tensor:
    return per_sample[:, None, None, None]


def _factor(keys: Keys, strength: float, kept: Tensor) -> Tensor:
    """[n] uniform in 1 +- strength, 1 where the sample is not kept."""
    return torch.where(kept, keys.between(max(0.0, 1 - strength), 1 + strength), 1.0)
