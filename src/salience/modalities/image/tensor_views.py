"""The view policies of images as functions of plain tensors, for a training of one's own.

Each draws one view of every image. A view depends on (seed, epoch, row) only: the same image gets the same view in any
batch. `rows` are the rows of the images in the dataset; by default they are numbered from 0.
"""

from __future__ import annotations

from torch import Tensor

from salience.errors import UserError
from salience.modalities.image import MIRRORED, NO_FLIP
from salience.modalities.image import policies as known
from salience.modalities.image.spec import ImageSpec
from salience.views.policy import Policy, Shape
from salience.views.random import Keys


def natural(x: Tensor, *, seed: int, epoch: int = 0, rows: Tensor | None = None, flip: bool = True) -> Tensor:
    """Augment colour photographs by crop, flip, colour jitter, grey.  x: [n 3 h w] -> [n 3 h w] float32 in [0, 1]"""
    if x.ndim != 4 or x.shape[1] != 3:
        raise UserError(f"x: natural varies colour and expects [n 3 h w], got {list(x.shape)}; use grey or crops")
    return _view(known.POLICIES[f"natural{_variant(flip)}"], x, seed, epoch, rows)


def grey(x: Tensor, *, seed: int, epoch: int = 0, rows: Tensor | None = None, flip: bool = True) -> Tensor:
    """Augment grey photographs by crop, flip, brightness, contrast.  x: [n c h w] -> [n c h w] float32 in [0, 1]"""
    return _view(known.POLICIES[f"grey{_variant(flip)}"], x, seed, epoch, rows)


def crops(x: Tensor, *, seed: int, epoch: int = 0, rows: Tensor | None = None, flip: bool = True) -> Tensor:
    """Augment images by crop and flip, without a change of light or colour.  x: [n c h w] -> [n c h w] float32"""
    return _view(known.POLICIES[f"crops{_variant(flip)}"], x, seed, epoch, rows)


def glyphs(x: Tensor, *, seed: int, epoch: int = 0, rows: Tensor | None = None) -> Tensor:
    """Augment digits and letters by rotation, shear, scale, shift and noise.  x: [n c h w] -> [n c h w] float32"""
    return _view(known.glyphs, x, seed, epoch, rows)


def medical(x: Tensor, *, seed: int, epoch: int = 0, rows: Tensor | None = None) -> Tensor:
    """Augment scans by wide crop, small rotation, brightness, contrast.  x: [n c h w] -> [n c h w] float32"""
    return _view(known.medical, x, seed, epoch, rows)


def _variant(flip: bool) -> str:
    return MIRRORED if flip else NO_FLIP


def _view(policy: Policy, x: Tensor, seed: int, epoch: int, rows: Tensor | None) -> Tensor:
    """Draw one view of square images, uint8 in 0..255 or floating point in [0, 1]."""
    import torch

    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise UserError(f"x: expected square images [n c h w], got {list(x.shape)}; crop or resize them first")
    if not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise UserError(f"x: expected uint8 or floating point values in [0, 1], got {x.dtype}; convert the images")
    unit = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    numbers = torch.arange(len(x), device=x.device) if rows is None else rows.to(x.device)
    spec = ImageSpec(tuple(x.shape[1:]), "float32")
    drawn: Tensor = policy(unit, Keys.of(seed, epoch, numbers), Shape(spec, x.shape[-1]))
    return drawn
