"""Images as a kind of data. This module implements the contract `Modality` with the other modules of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from salience.errors import UserError
from salience.modalities.image.extensions import EXTENSIONS
from salience.modalities.image.spec import ImageSpec
from salience.modalities.modality import Items, Modality
from salience.units import counted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL import Image as Picture
    from torch import Tensor, nn

    from salience.fields.build_options import Built, Options
    from salience.fields.content import Found
    from salience.modalities.image.input import ImageInput
    from salience.modalities.patches import Patches
    from salience.nets.adversaries import Strongest
    from salience.nets.encoder import Encoder
    from salience.views.policy import Policy

NO_FLIP, MIRRORED, TURNED = VARIANTS = ("-noflip", "", "-turns")  # endings of a policy's name
FLIPPING = {
    "natural": "colour photographs: resized crop, flip, colour jitter, grey",
    "grey": "grey photographs: resized crop, flip, brightness, contrast",
    "crops": "images whose light and colour matter: resized crop, flip",
}
LARGEST_RAW = 32  # pixels per side; the raw pixels of larger images are averaged to this size
COLOURS = {1: "grey", 3: "RGB"}


class Image(Modality[ImageSpec]):
    """Images [channels height width], square."""

    name = "image"
    item = "image"
    plural = "images"
    spec = ImageSpec
    default_encoder = "convnet"
    supports = frozenset({"encoder", "vectors", "colours", "sizes", "raster"})
    shows_pictures = True
    item_extensions = EXTENSIONS
    reading_options = frozenset({"aspect"})
    open_options = frozenset({"resolution"})
    policies: ClassVar[Mapping[str, str]] = {
        **FLIPPING,
        **{name + NO_FLIP: f"as {name}, never flipped" for name in FLIPPING},
        **{name + TURNED: f"as {name}, with quarter turns too: pictures without an up" for name in FLIPPING},
        "glyphs": "digits and letters: rotation, shear, scale, shift, noise; never flipped",
        "medical": "scans: wide crop, small rotation, brightness, contrast; never flipped",
    }

    # --- from a source to stored items

    def recognizes(self, content: Any) -> bool:
        import numpy as np

        from salience.fields.content import Encoded

        files = isinstance(content, Encoded) and content.kind == self.name
        return files or (isinstance(content, np.ndarray) and content.ndim in (3, 4))

    def build(self, found: Found, options: Options) -> Built:
        from salience.modalities.image.image_builder import build

        return build(found, options)

    def in_place(self, content: Any) -> np.ndarray:
        from salience.modalities.image.conversion import as_images

        return as_images(content)

    def describe(self, shape: Sequence[int], dtype: str, count: int) -> str:
        channels, height, width = shape
        colours = COLOURS.get(channels, f"{channels}-channel")
        return f"{counted(count, 'image')}, {colours}, {height}x{width}, {dtype}"

    def resolution(self, spec: ImageSpec) -> int:
        return spec.resolution

    def from_array(self, x: np.ndarray, spec: ImageSpec) -> np.ndarray:
        from salience.modalities.image.estimator_arrays import from_array

        return from_array(x, spec)

    def to_array(self, unit: Tensor, spec: ImageSpec, shape: Sequence[int]) -> np.ndarray:
        from salience.modalities.image.estimator_arrays import to_array

        return to_array(unit, spec, shape)

    # --- the unit scale

    def unit(self, x: Tensor, spec: ImageSpec) -> Tensor:
        from salience.modalities.image.unit import unit_images

        return unit_images(x, spec)

    def width(self, spec: ImageSpec) -> int:
        return spec.shape[0] * spec.shape[1] * spec.shape[2]

    def unflatten(self, flat: Tensor, spec: ImageSpec) -> Tensor:
        return flat.unflatten(1, spec.shape)

    def blank(self, spec: ImageSpec) -> Tensor:
        import torch

        return torch.zeros(1, *spec.shape)

    def clip(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    def value_range(self, spec: ImageSpec) -> tuple[Tensor, Tensor]:
        import torch

        return torch.tensor(0.0), torch.tensor(1.0)

    def variance(self, spec: ImageSpec) -> float:
        from salience.modalities.image.unit import variance

        return variance(spec)

    def mean(self, spec: ImageSpec) -> Tensor | None:
        import torch

        if not spec.mean:
            return None
        return torch.tensor(spec.mean).repeat_interleave(spec.shape[1] * spec.shape[2])

    def typical_std(self, spec: ImageSpec) -> float:
        return max(0.01, sum(spec.std) / len(spec.std)) if spec.std else 1.0

    def to_stored(self, x: Tensor, spec: ImageSpec) -> np.ndarray:
        from salience.modalities.image.unit import to_stored

        return to_stored(x, spec)

    def uses_float64(self, spec: ImageSpec) -> bool:
        return False

    # --- views, networks, likelihoods

    def policy(self, name: str) -> Policy:
        from salience.modalities.image.policies import POLICIES

        return POLICIES[name]

    def default_policy(self, spec: ImageSpec) -> tuple[str, str]:
        if spec.views is not None:
            return spec.views, "set by the source"
        if spec.channels == 3:
            return "natural", "colour images; use --views medical or glyphs if flips or colours carry meaning"
        return "grey", f"images of {spec.channels} channel{'s' * (spec.channels > 1)}, without colour to vary"

    def refuse_policy(self, name: str, spec: ImageSpec) -> None:
        if name.startswith("natural") and spec.channels != 3:
            grey = name.replace("natural", "grey")
            raise UserError(
                f"views: {name!r} varies colour and requires 3 channels, the data has {spec.channels}; use {grey!r}"
            )

    def policy_variant(self, policy: str, spec: ImageSpec) -> str:
        known = spec.views or ""
        variant = next((variant for variant in VARIANTS if variant and known.endswith(variant)), MIRRORED)
        return policy + variant if policy in FLIPPING else policy

    def suggest_policy(self, data: Any, policy: str) -> tuple[str, str] | None:
        from salience.modalities.image.symmetry import choose_variant

        if policy not in FLIPPING:
            return None
        usual, _ = self.default_policy(data.spec)
        found = choose_variant(data, usual)
        return usual + found.variant, found.reason

    def make_input(self, spec: ImageSpec) -> ImageInput:
        from salience.modalities.image.input import ImageInput

        return ImageInput(spec)

    def make_encoder(self, name: str, spec: ImageSpec, *, dim: int | None, fetch: bool) -> Encoder:
        from salience.modalities.image.encoders import make_encoder

        return make_encoder(name, spec, dim=dim, fetch=fetch)

    def published_encoder(
        self, name: str, spec: ImageSpec, *, weights: str | None, size: int | None, interpolation: str | None,
        fetch: bool,
    ) -> Encoder:  # fmt: skip
        from salience.modalities.image.published import published_encoder

        return published_encoder(name, spec, weights=weights, size=size, interpolation=interpolation, fetch=fetch)

    def make_decoder(self, encoder: str, spec: ImageSpec, dim: int) -> nn.Module:
        from salience.modalities.image.conv_decoder import ConvDecoder

        return ConvDecoder(dim, spec)

    def patches(self, spec: ImageSpec, side: int | None = None) -> Patches:
        from salience.modalities.image.image_patches import ImagePatches

        fitting = [one for one in (16, 8, 4, 2) if spec.resolution % one == 0 and spec.resolution // one >= 7]
        return ImagePatches(spec, side or (fitting[0] if fitting else 1))

    def make_discriminator(
        self, name: str, spec: ImageSpec, *, channels: int, strides: int | None, fetch: bool
    ) -> tuple[Encoder, Strongest]:
        from salience.modalities.image.dcgan import make_discriminator

        if name != "convnet":
            return super().make_discriminator(name, spec, channels=channels, strides=strides, fetch=fetch)
        return make_discriminator(spec, channels=channels, strides=strides)

    def make_generator(self, spec: ImageSpec, *, dim: int, channels: int) -> nn.Sequential:
        from salience.modalities.image.dcgan import make_generator

        return make_generator(spec, dim=dim, channels=channels)

    def to_range(self, x: Tensor, spec: ImageSpec) -> Tensor:
        return (x.tanh() + 1).reshape(-1, *spec.shape) / 2

    def prepare_network(self, network: nn.Module) -> None:
        import torch

        network.to(memory_format=torch.channels_last)

    def likelihood(self, spec: ImageSpec) -> str:
        return "bernoulli" if spec.channels == 1 else "gaussian"

    def refuse_bernoulli(self, spec: ImageSpec, option: str) -> None:
        """Accept all images: pixels in [0, 1] are read as probabilities."""

    def make_raster(self, spec: ImageSpec) -> nn.Module:
        from salience.modalities.image.raster import Raster

        return Raster(spec.channels)

    def logit_means(self, spec: ImageSpec) -> ImageSpec:
        import math
        from dataclasses import replace

        inner = (min(max(mean, 0.01), 0.99) for mean in spec.mean)
        return replace(spec, mean=tuple(math.log(mean / (1 - mean)) for mean in inner))

    def visible_input(self, spec: ImageSpec, likelihood: str) -> ImageInput:
        from salience.modalities.image.input import ImageInput

        if likelihood == "gaussian":
            return ImageInput(spec)
        return ImageInput(spec, [0.0] * spec.channels, [1.0] * spec.channels)  # pixels are probabilities as they are

    # --- evaluation and show

    def raw_features(self, x: Tensor, spec: ImageSpec, mask: Tensor | None = None) -> Tensor:
        from torch.nn import functional as F

        images = self.unit(x, spec)
        return (F.adaptive_avg_pool2d(images, LARGEST_RAW) if spec.resolution > LARGEST_RAW else images).flatten(1)

    def raw_note(self, spec: ImageSpec) -> str | None:
        if spec.resolution <= LARGEST_RAW:
            return None
        side = spec.resolution
        return f"raw input and PCA use images of {side}x{side} averaged down to {LARGEST_RAW}x{LARGEST_RAW}"

    def compare(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        from salience.modalities.image.similarity import psnr, ssim

        return {**super().compare(x, y), "psnr": psnr(x, y), "ssim": ssim(x, y)}

    def has_near_duplicates(self, spec: ImageSpec) -> bool:
        return spec.resolution >= 2

    def near_signature(self, x: Tensor, spec: ImageSpec) -> Tensor:
        from salience.modalities.image.edges import signatures

        return signatures(x)

    def picture(self, data: Items, row: int) -> Picture.Image:
        from salience.modalities.image.conversion import thumbnail

        return thumbnail(data, row)

    def thumbnails(self, data: Any) -> pa.Array:
        from salience.modalities.image.thumbnails import thumbnails

        return thumbnails(data)


MODALITY = Image()
