"""Conditional GAN for super-resolution: enlarge a small image so that it is close to the original and looks real.

Isola et al. 2017, "pix2pix", https://arxiv.org/abs/1611.07004, eq. 1 to 4, with the task and generator of SRGAN (Ledig
et al. 2017, https://arxiv.org/abs/1609.04802). The condition c of an image x is x reduced by `factor`, each pixel the
mean of a square. The generator computes G(c), an image of the size of x. The discriminator receives an image together
with its condition, interpolated to the same size, and computes for every patch the probability D(c, .) =
sigmoid(logit) that the image is real. In turn, with every batch:

    discriminator  minimises  -mean log D(c, x) - mean log(1 - D(c, G(c)))
    generator      minimises  mean |x - G(c)| + adversarial_weight mean -log D(c, G(c))

The default weighting is that of pix2pix: 100 mean |x - G(c)| to 1 of the adversarial term. SRGAN weights its content
loss by 1000. With adversarial_weight 0 the generator is a plain regression. G(c) is the bicubic interpolation plus a
learned detail, so an untrained generator returns the interpolation.
The representation is the discriminator's, of an image with its own condition: the maximum of each channel of its last
convolution in each quarter of the image.
Differs from the papers: no noise, which the generator of pix2pix learns to ignore; no batch norm; absolute error as in
pix2pix (SRGAN uses squared error or VGG features); small networks, with patches of 18 pixels, or 38 for images of at
least 64 pixels a side (pix2pix: 70). Named encoders judge the whole image.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.methods.adversarial import Adversarial
from salience.methods.contract import Context
from salience.methods.generative.gan import discriminator_loss, generator_loss, rightness
from salience.methods.precision import full_precision
from salience.modalities.image.dcgan import Enlarger, interpolated
from salience.modalities.image.spec import ImageSpec
from salience.nets import Encoder
from salience.nets.adversaries import Strongest, make_discriminator
from salience.warning_signs import Sign

LARGE = 64  # minimum image side, in pixels, for the larger patches
PART = 512  # maximum side, in pixels, of an image that is enlarged in one pass
BEYOND_BLOCKS = 6  # receptive field, in pixels per side, outside the blocks: 4 of convolutions, 2 of interpolation


@full_precision
def pixel_error(made: Tensor, original: Tensor) -> Tensor:
    """Compute the mean absolute error.  [n ...], [n ...] -> []"""
    return F.l1_loss(made, original)


@full_precision
def signal_to_noise(made: Tensor, original: Tensor) -> Tensor:
    """Compute the PSNR in decibels, of images on the unit scale.  [n ...], [n ...] -> [n]"""
    error = (made.clamp(0, 1) - original).square().flatten(1).mean(dim=1)
    return -10 * error.clamp(min=1e-12).log10()


def shrunk(x: Tensor, factor: int) -> Tensor:
    """Reduce images by averaging squares of pixels.  [n c factor*h factor*w] -> [n c h w]"""
    return F.avg_pool2d(x, factor)


class ConditionalGAN(Adversarial):
    """Conditional GAN.

    factor: ratio of the image's height and width to the condition's
    adversarial_weight: weight of the adversarial loss, relative to the absolute error; 0 for a plain regression
    channels: number of channels of the generator's layers and of the discriminator's first layer
    blocks: number of residual blocks of the generator, of two convolutions each
    """

    requires = ("vectors", "sizes")
    signs = (
        Sign(
            ("judged_real", "judged_fake"),
            "the discriminator has won",
            "its accuracy is {judged_real:.0%} on real and {judged_fake:.0%} on generated items",
            "a smaller --adversarial-weight, or a lower --learning-rate",
            "players",
            above=0.98,
            of="generator",
        ),
    )
    judged_by_neighbours = False  # it enlarges; nothing asks its representation to tell items apart
    learning_rate = 2e-4
    betas = (0.5, 0.999)

    def __init__(
        self,
        encoder: Encoder,
        strongest: Strongest,
        generator: nn.Module,
        *,
        factor: Literal[2, 4] = 2,
        adversarial_weight: Annotated[float, Ge(0)] = 0.01,
        channels: Annotated[int, Ge(1)] = 32,
        blocks: Annotated[int, Ge(1)] = 4,
    ):
        super().__init__(encoder)
        self.strongest = strongest
        kernel = 3 if strongest.side > 1 else 1
        self.head = nn.Conv2d(strongest.channels, 1, kernel, padding=kernel // 2)
        self.generator = generator
        self.factor = factor
        self.adversarial_weight = adversarial_weight
        self.channels = channels
        self.blocks = blocks

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        spec = cast(ImageSpec, context.spec)
        factor, channels = options.get("factor", 2), options.get("channels", 32)
        refuse(spec.resolution, factor)
        strides = 2 if spec.resolution < LARGE else 3
        judge = make_discriminator(
            context.encoder, paired(spec), channels=channels, strides=strides, fetch=context.fetch
        )
        generator = Enlarger(spec, factor=factor, channels=channels, blocks=options.get("blocks", 4))
        return cls(*judge, generator, **options)

    @property
    def width(self) -> int:
        return self.strongest.width

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embed images together with their own conditions."""
        return self.strongest(self.encoder(self.beside(shrunk(x, self.factor), x), mask))

    def player(self, turn: str) -> Iterable[nn.Module]:
        return (self.generator,) if turn == "generator" else (self.encoder, self.head)

    def turn_loss(self, turn: str, batch: Batch, at: Progress) -> dict[str, Tensor]:
        original = self.encoder.input.unit(batch.x)
        condition = shrunk(original, self.factor)
        if turn == "generator":
            return self.generator_terms(condition, original)
        with torch.no_grad():
            made = self.generator(condition)
        real, false = self.judge(condition, original), self.judge(condition, made)
        loss = discriminator_loss(real, false)
        return {"loss": loss, "discriminator": loss, **rightness(real, false)}

    def generator_terms(self, condition: Tensor, original: Tensor) -> dict[str, Tensor]:
        made = self.generator(condition)
        error = pixel_error(made, original)
        if self.adversarial_weight == 0:
            return {"loss": error, "pixels": error}
        fooled = generator_loss(self.judge(condition, made))
        return {"loss": error + self.adversarial_weight * fooled, "pixels": error, "generator": fooled}

    def judge(self, condition: Tensor, x: Tensor) -> Tensor:
        """Compute a logit per patch; high means real.  [n c h w], [n c factor*h factor*w] -> [n 1 side side]"""
        return self.head(self.strongest.maps(self.encoder(self.beside(condition, x))))

    def beside(self, condition: Tensor, x: Tensor) -> Tensor:
        """Stack interpolated condition and image.  [n c h w], [n c factor*h factor*w] -> [n 2c factor*h factor*w]"""
        return torch.cat([interpolated(condition, self.factor), x], dim=1)

    def enlarge(self, x: Tensor) -> Tensor:
        """Enlarge images of any size.  [n c h w] -> [n c factor*h factor*w], on the unit scale

        Large images are processed in parts. Each part includes the receptive field around it, so no seams appear.
        """
        (height, width), factor = x.shape[-2:], self.factor
        if max(height, width) <= PART:
            return self.generator(x).clamp(0, 1)
        larger = x.new_empty(*x.shape[:2], factor * height, factor * width)
        reach = 2 * self.blocks + BEYOND_BLOCKS
        for top, left in itertools.product(range(0, height, PART), range(0, width, PART)):
            above, before = max(0, top - reach), max(0, left - reach)
            around = x[..., above : top + PART + reach, before : left + PART + reach]
            place = larger[..., factor * top : factor * (top + PART), factor * left : factor * (left + PART)]
            made = self.generator(around)[..., factor * (top - above) :, factor * (left - before) :]
            place.copy_(made[..., : place.shape[-2], : place.shape[-1]].clamp(0, 1))
        return larger

    def yardstick(self, batch: Batch, at: Progress) -> Tensor:
        original = self.encoder.input.unit(batch.x)
        return pixel_error(self.generator(shrunk(original, self.factor)), original)

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """Return the discriminator's accuracies, and psnr_gain: decibels above interpolation."""
        original = self.encoder.input.unit(batch.x)
        condition = shrunk(original, self.factor)
        made, plain = self.generator(condition), interpolated(condition, self.factor)
        gain = signal_to_noise(made, original) - signal_to_noise(plain, original)
        return rightness(self.judge(condition, original), self.judge(condition, made)) | {"psnr_gain": gain.mean()}

    def param_groups(self) -> Iterable[dict[str, Any]]:
        """Return all parameters, without weight decay."""
        yield {"params": [p for p in self.parameters() if p.requires_grad], "weight_decay": 0.0}


def paired(spec: ImageSpec) -> ImageSpec:
    """Return the spec of an image stacked with its condition."""
    return replace(spec, shape=(2 * spec.channels, *spec.shape[1:]), mean=2 * spec.mean, std=2 * spec.std)


def refuse(resolution: int, factor: int) -> None:
    """Raise UserError for images that cannot be reduced by `factor`."""
    size = f"{resolution}x{resolution} images"
    if resolution % factor:
        raise UserError(f"factor: {size} cannot be shrunk {factor}-fold; take a --resolution that is a multiple of it")
    if resolution < 2 * factor:
        least = 2 * factor
        raise UserError(f"factor: {size} are too small to shrink {factor}-fold; use a --resolution of {least}")
