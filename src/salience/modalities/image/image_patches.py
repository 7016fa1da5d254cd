"""Square patches of images as tokens.

Dosovitskiy et al. 2021, "ViT", https://arxiv.org/abs/2010.11929, sec. 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from salience.errors import UserError
from salience.modalities.image.spec import ImageSpec
from salience.modalities.patches import Patches


class ImagePatches(Patches):
    """Square patches, row by row from the top left.  [n c h w] <-> [n t c*side*side]

    Args:
        spec: The spec of the images.
        side: Side of a patch, in pixels.

    Raises:
        UserError: The side does not divide the side of the images.
    """

    def __init__(self, spec: ImageSpec, side: int) -> None:
        if spec.resolution % side:
            raise UserError(f"patch: expected a divisor of the image side {spec.resolution}, got {side}")
        super().__init__(spec.channels * side**2)
        self.channels, self.side, self.across = spec.channels, side, spec.resolution // side

    def cut(self, x: Tensor) -> Tensor:
        tiles = x.unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))  # [n c down side across side]
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def join(self, tokens: Tensor) -> Tensor:
        tiles = tokens.unflatten(2, (self.channels, self.side, self.side)).unflatten(1, (-1, self.across))
        return tiles.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def positions(self, x: Tensor) -> Tensor:
        """Return the row and column of each patch, [t 2]."""
        down, across = x.shape[2] // self.side, x.shape[3] // self.side
        return torch.cartesian_prod(torch.arange(down), torch.arange(across)).to(x)
