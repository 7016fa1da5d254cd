"""CMC: match the luminance of an image with its colour; two separate encoders embed the two.

Tian et al. 2019, "Contrastive Multiview Coding", https://arxiv.org/abs/1906.05849, section 3, over the n images of a
step. The luminance L and the chroma ab (of CIE L*a*b*) are encoded and projected to unit vectors u and v:

    l(u, v) = mean over i of -log  exp(u_i . v_i / temperature) / sum_{j = 1..n} exp(u_i . v_j / temperature)
    loss = (l(u, v) + l(v, u)) / 2

The representation is the concatenation of the outputs of both encoders. A view is a crop and a flip, the same for L and
ab. Changes of brightness or colour are not used, because they would affect only one of the two. Grey images have no
chroma and are refused.
Differs from the paper: the other images of the step are the negatives, without a memory bank and noise-contrastive
estimation; the loss is the mean of both directions, not their sum; there are two complete encoders, not two halves of
one; AdamW replaces SGD.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Self, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.distributed import gather
from salience.errors import UserError
from salience.methods.contract import Context, Method
from salience.methods.precision import full_precision
from salience.modalities.image.colour import lab
from salience.modalities.image.input import ImageInput
from salience.modalities.image.spec import ImageSpec
from salience.nets import Encoder, make_encoder
from salience.views import Views
from salience.warning_signs import Ordinary

MEAN: tuple[float, ...] = (0.5, 0.5, 0.5)  # approximate mean of photographs in `lab`
STD: tuple[float, ...] = (0.25, 0.04, 0.06)


@full_precision
def cmc_loss(a: Tensor, b: Tensor, *, temperature: float) -> Tensor:
    """Compute InfoNCE in both directions, for my n samples against those of all processes.  a, b: [n d] -> []"""
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    (all_a, mine_at), (all_b, _) = gather(a), gather(b)  # [m d], position of this process's rows in it [n]
    there = F.cross_entropy(a @ all_b.T / temperature, mine_at)
    back = F.cross_entropy(b @ all_a.T / temperature, mine_at)
    return (there + back) / 2


class Sides(nn.Module):
    """Encode the luminance and the chroma of an image with two separate encoders."""

    def __init__(self, luminance: Encoder, chroma: Encoder):
        super().__init__()
        self.luminance = luminance
        self.chroma = chroma

    def forward(self, x: Tensor) -> Tensor:
        """Embed sRGB images on the unit scale.  [n 3 h w] -> [n d + d']"""
        light, colour = lab(x).split([1, 2], dim=1)
        return torch.cat([self.luminance(light), self.chroma(colour)], dim=1)


class CMC(Method):
    """CMC.

    dim: width of the projections in which luminance and chroma are compared
    temperature: divides the similarities; smaller values give more weight to the nearest negatives
    """

    requires = ("colours",)
    ordinary = (Ordinary("temperature", 0.01, 5.0),)
    keeps_items_apart = "--temperature"

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        dim: Annotated[int, Ge(1)] = 128,
        temperature: Annotated[float, Gt(0)] = 0.07,
    ):
        super().__init__(encoder)
        self.views = views
        self.dim = dim
        self.temperature = temperature
        assert isinstance(encoder.body, Sides)
        self.widths = [encoder.body.luminance.dim, encoder.body.chroma.dim]
        self.luminance_projector, self.chroma_projector = (nn.Linear(width, dim) for width in self.widths)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        spec = cast(ImageSpec, context.spec)
        require_colour(spec)
        luminance, chroma = (part_encoder(context, channels) for channels in (slice(0, 1), slice(1, 3)))
        unchanged = ImageInput(spec, mean=(0, 0, 0), std=(1, 1, 1))  # the two encoders standardise, after `lab`
        encoder = Encoder(unchanged, Sides(luminance, chroma), luminance.dim + chroma.dim, luminance.stride)
        return cls(encoder, context.make_views({"global": 1}, policy="crops"), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        [view] = self.views(batch, at)["global"]
        light, colour = self.encoder(view.x).split(self.widths, dim=1)
        a, b = self.luminance_projector(light), self.chroma_projector(colour)
        return {"loss": cmc_loss(a, b, temperature=self.temperature)}

    def collapsed_loss(self, n: int) -> float:
        return math.log(n)


def part_encoder(context: Context, channels: slice) -> Encoder:
    """Build the encoder of these channels of `lab`."""
    mean, std = MEAN[channels], STD[channels]
    whole = cast(ImageSpec, context.spec)
    spec = dataclasses.replace(whole, shape=(len(mean), *whole.shape[1:]), mean=mean, std=std)
    return make_encoder(context.encoder, spec, fetch=context.fetch)


def require_colour(spec: ImageSpec) -> None:
    """Refuse images without chroma: one channel, or three channels with equal statistics."""
    grey = len(spec.mean) == 3 and len({*spec.mean}) == len({*spec.std}) == 1
    if spec.channels != 3 or grey:
        what = "are grey" if grey else f"have {spec.channels} channel{'s' * (spec.channels > 1)}"
        raise UserError(f"source: cmc contrasts luminance with colour, and these images {what}; take moco or simclr")
