"""View policies of images: functions from a unit-scale batch to one view of each image.

A flip suits a photograph and destroys a digit, so the policy depends on the data. Policies with flips have two
variants: NAME-noflip without flips, and NAME-turns with additional quarter turns, for images without a top.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from salience.modalities.image import MIRRORED, NO_FLIP, TURNED, VARIANTS
from salience.modalities.image.colour import adjust_brightness, adjust_contrast, jitter, random_grey
from salience.modalities.image.transforms import (
    affine,
    box_matrix,
    compose_affine,
    random_affine,
    random_boxes,
    resized_crop,
)
from salience.views.policy import Policy, Shape
from salience.views.random import Keys

_MOST, _PART = (0.2, 1.0), (0.1, 0.4)  # ranges of the share of an image's area


def natural(x: Tensor, keys: Keys, shape: Shape, variant: str = MIRRORED) -> Tensor:
    """Augment colour photographs by crop, flip, colour jitter, grey (SimCLR).  [n 3 h w] -> [n 3 side side]"""
    x = crops(x, keys, shape, variant)
    x = jitter(x, keys, strength=(0.4, 0.4, 0.4, 0.1), probability=0.8)
    return random_grey(x, keys, probability=0.2)


def grey(x: Tensor, keys: Keys, shape: Shape, variant: str = MIRRORED) -> Tensor:
    """Augment grey photographs by crop, flip, brightness, contrast.  [n c h w] -> [n c side side]"""
    return _relit(crops(x, keys, shape, variant), keys, 0.4)


def crops(x: Tensor, keys: Keys, shape: Shape, variant: str = MIRRORED) -> Tensor:
    """Augment images by crop and flip, without a change of brightness or colour.  [n c h w] -> [n c side side]

    Args:
        x: Images.
        keys: Random keys.
        shape: Shape of the views.
        variant: NO_FLIP, MIRRORED (half of the images) or TURNED (the eight symmetries of a square, uniformly).
    """
    boxes = random_boxes(keys, x.shape[-1], area=_PART if shape.part else _MOST, ratio=(3 / 4, 4 / 3))
    flip = None if variant == NO_FLIP else keys.fold("flip").chance(0.5)
    x = resized_crop(x, boxes, flip, shape.side)
    return _turned(x, keys) if variant == TURNED else x


def glyphs(x: Tensor, keys: Keys, shape: Shape) -> Tensor:
    """Augment digits, letters and symbols by rotation, shear, scale, shift and a little noise, without flips.

    [n c h w] -> [n c side side]
    """
    x = affine(x, random_affine(keys, degrees=20, shear=0.2, scale=(0.8, 1.2), shift=0.1))
    if shape.part:
        boxes = random_boxes(keys.fold("part"), x.shape[-1], area=(0.25, 0.6), ratio=(3 / 4, 4 / 3))
        x = resized_crop(x, boxes, side=shape.side)
    noise = keys.fold("noise").normal(*x.shape[1:])
    return torch.addcmul(x, noise, keys.fold("noise level").uniform(1, 1, 1), value=0.1).clamp_(0, 1)


def medical(x: Tensor, keys: Keys, shape: Shape) -> Tensor:
    """Augment scans, in which side, colour and size carry meaning, by wide crop, small rotation, brightness, contrast.

    [n c h w] -> [n c side side]
    """
    boxes = random_boxes(keys, x.shape[-1], area=(0.5, 1.0), ratio=(9 / 10, 10 / 9))
    turn = random_affine(keys, degrees=10, shear=0, scale=(1, 1), shift=0)
    x = affine(x, compose_affine(turn, box_matrix(boxes, x.shape[-1])))
    if shape.part:
        boxes = random_boxes(keys.fold("part"), x.shape[-1], area=(0.2, 0.5), ratio=(9 / 10, 10 / 9))
        x = resized_crop(x, boxes, side=shape.side)
    return _relit(x, keys, 0.2)


_FLIPPING = {"natural": natural, "grey": grey, "crops": crops}
POLICIES: dict[str, Policy] = {
    **{name + variant: partial(policy, variant=variant) for name, policy in _FLIPPING.items() for variant in VARIANTS},
    "glyphs": glyphs,
    "medical": medical,
}


def _turned(x: Tensor, keys: Keys) -> Tensor:
    """Flip vertically and transpose, each with probability 1/2; with a flip, these are all symmetries of a square."""
    upside_down, transposed = (keys.fold(name).chance(0.5)[:, None, None, None] for name in ("upside down", "turn"))
    x = torch.where(upside_down, x.flip(-2), x)
    return torch.where(transposed, x.transpose(-2, -1), x)


def _relit(x: Tensor, keys: Keys, strength: float) -> Tensor:
    """Change brightness and contrast by factors within 1 +- strength."""
    factor = keys.fold("light").between(1 - strength, 1 + strength, 2)
    return adjust_contrast(adjust_brightness(x, factor[:, 0]), factor[:, 1])
