"""Published networks of images, with the preprocessing and the names of weights that belong to them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.errors import MissingPackage, Note, UserError
from salience.modalities.image.input import ImageInput
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.timm_body import TimmBody, unknown_encoder, with_published_weights
from salience.nets.encoder import Encoder
from salience.nets.published_weights import match, read_weights

MODES = ("bicubic", "bilinear", "nearest")
USUAL = "bilinear"
# Names of the TensorFlow family of EfficientNet in efficientnet_pytorch, and what timm calls them.
STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
EXPANDING = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
EXPANDING |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXCITING = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}


class PublishedInput(ImageInput):
    """The preprocessing of a published network: channels, size, mean and standard deviation.

    Args:
        spec: The spec of the images.
        mean, std: Statistics of each channel of the network.
        size: Height and width that the network gets.
        interpolation: How images are resized to it.
    """

    def __init__(
        self, spec: ImageSpec, mean: tuple[float, ...], std: tuple[float, ...], size: int, interpolation: str
    ) -> None:
        super().__init__(spec, mean, std)
        self.size = size
        self.interpolation = interpolation

    def forward(self, x: Tensor) -> Tensor:
        """Convert images [n c h w] on the unit scale to what the network gets, [n 3 size size]."""
        if x.shape[1] == 1:
            x = x.expand(-1, len(self.mean), -1, -1)
        if x.shape[-1] != self.size:
            smooth = {} if self.interpolation == "nearest" else {"antialias": True, "align_corners": False}
            x = F.interpolate(x, (self.size, self.size), mode=self.interpolation, **smooth).clamp(0, 1)
        return super().forward(x)


def published_encoder(
    name: str, spec: ImageSpec, *, weights: str | None, size: int | None, interpolation: str | None, fetch: bool
) -> Encoder:
    """Make a published network with its weights and preprocessing.

    Args:
        name: Name of a timm model.
        spec: The spec of the images.
        weights: File of its weights; None for the published ones.
        size, interpolation: Preprocessing; None for the network's own.
        fetch: False makes the same network without weights, to be filled from a run.

    Raises:
        UserError: The name is unknown, the images have another number of channels, or the weights do not fit.
        MissingPackage: timm is not installed.
    """
    timm = _import_timm(name)
    if not timm.is_model(name):
        raise UserError(unknown_encoder(name, timm.list_models()))
    facts = _facts(timm, name)
    channels = len(facts["mean"])
    if spec.channels not in (1, channels):
        raise UserError(f"source: {name!r} takes images of {channels} channels, the data has {spec.channels}")
    side = size or facts["input_size"][-1]
    how = interpolation or (facts["interpolation"] if facts["interpolation"] in MODES else USUAL)
    model = _network(timm, name, facts, weights, side, fetch=fetch)
    inputs = PublishedInput(spec, facts["mean"], facts["std"], side, how)
    return Encoder(inputs, TimmBody(model), _width(model, channels, side, name))


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingPackage(f"encoder: {name!r} needs timm; install it with pip install 'salience[timm]'") from error
    return timm


def _facts(timm: Any, name: str) -> dict[str, Any]:
    """Return what the authors of a network say of its preprocessing."""
    return dict(timm.create_model(name, pretrained=False, num_classes=0).pretrained_cfg)


def _network(timm: Any, name: str, facts: dict[str, Any], weights: str | None, side: int, *, fetch: bool) -> nn.Module:
    options: dict[str, Any] = {"num_classes": 0}
    if facts.get("fixed_input_size") and side != facts["input_size"][-1]:
        options["img_size"] = side
    if fetch and weights is None:
        published: nn.Module = with_published_weights(timm, name, options)
        return published
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model if weights is None or not fetch else load_published(model, name, Path(weights).expanduser(), facts)


def load_published(model: nn.Module, name: str, path: Path, facts: dict[str, Any]) -> nn.Module:
    """Load a file of weights into a network, and say how its names match.

    Raises:
        UserError: A tensor is missing, unexpected or of another shape.
    """
    tensors = read_weights(path)
    classifier = facts.get("classifier") or ()
    left_out = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    found = match(tensors, model, renaming(tensors, model), left_out)
    if not found.fits:
        raise UserError(f"weights: {path} does not contain the weights of {name}: {found.text()}; give its own file")
    model.load_state_dict(found.tensors, strict=False)
    warnings.warn(f"weights of {name} from {path}: {found.text()}", Note, stacklevel=2)
    return model


def renaming(names: Any, model: nn.Module) -> Callable[[str], str]:
    """Return the map from names in a file to names in a network of timm."""
    if "_conv_stem.weight" not in names:
        return lambda name: name
    stages = dict(model.named_children()).get("blocks", nn.Sequential())
    places = [
        f"blocks.{stage}.{number}"
        for stage, blocks in enumerate(stages.children())
        for number, _ in enumerate(blocks.children())
    ]
    expanding = {int(one[1]) for name in names if (one := re.match(r"_blocks\.(\d+)\._expand_conv\.", name))}

    def renamed(name: str) -> str:
        if (inner := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)) is None:
            part, _, rest = name.partition(".")
            return f"{STEM.get(part, part)}.{rest}"
        number = int(inner[1])
        known = {**(EXPANDING if number in expanding else SEPARABLE), **EXCITING}
        place = places[number] if number < len(places) else f"blocks.{number}"
        return f"{place}.{known.get(inner[2], inner[2])}.{inner[3]}"

    return renamed


def _width(model: nn.Module, channels: int, side: int, name: str) -> int:
    """Measure the width of the output with a blank image."""
    model.eval()
    try:
        with torch.no_grad():
            width: int = model(torch.zeros(1, channels, side, side)).shape[1]
    except (ValueError, AssertionError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"size: {name!r} does not take images of {side}x{side} ({reason}); choose another") from error
    return width
