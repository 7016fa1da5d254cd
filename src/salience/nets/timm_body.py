"""Bodies from timm by name, fitted to small images."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from salience.batch import Spec
from salience.errors import MissingPackage, UserError
from salience.nets.inputs import ImageInput

SMALL = 64  # up to this resolution a ResNet's stem (7x7, stride 2, max-pool) would throw most of the image away
OWN = ("convnet", "mlp", "linear")
_UNFIT = (ValueError, AssertionError, ZeroDivisionError, RuntimeError, TypeError)  # what models say to a wrong size


class TimmBody(nn.Module):
    """A timm model without its classifier, pooled as its authors pool it.  [n c h w] -> [n width]"""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def timm_body(name: str, spec: Spec, *, fetch: bool) -> tuple[ImageInput, TimmBody, int]:
    """`resnet18`, or `resnet18:pretrained` with published weights.  Gives input layer, body and width.

    fetch: False makes the same network without fetching the weights, to be filled from a run.
    Errors: UserError for an unknown name or weights that cannot be had, MissingPackage without timm.
    """
    name, _, tag = name.partition(":")
    if name in OWN:
        raise UserError(f"encoder '{name}:{tag}': {name} has no published weights; leave ':{tag}' out")
    if tag not in ("", "pretrained"):
        raise UserError(f"encoder '{name}:{tag}' has an unknown ending ':{tag}'; only ':pretrained' is known")
    timm = _import_timm(name)
    if not timm.is_model(name):
        raise UserError(_unknown(name, [*OWN, *timm.list_models()]))
    model = _create(timm, name, spec, tag == "pretrained" and fetch)
    _require_whole_patches(name, model, spec.resolution)
    if tag != "pretrained" and spec.resolution <= SMALL:
        _shrink_stem(model)
    inputs = _published_input(model, spec) if tag == "pretrained" else ImageInput(spec)
    return inputs, TimmBody(model), _tried_width(name, model, spec)


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        near = difflib.get_close_matches(name, OWN, n=1, cutoff=0.7)
        if near:
            raise UserError(_unknown(name, OWN)) from error
        raise MissingPackage(f"encoder {name!r} needs timm; install it with pip install 'salience[timm]'") from error
    return timm


def _unknown(name: str, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"take {', '.join(OWN)} or the name of a timm model"
    return f"encoder {name!r} is not known; {hint}"


def _create(timm: Any, name: str, spec: Spec, pretrained: bool) -> Any:
    published = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": 0, "in_chans": spec.channels}
    if published is not None and published.fixed_input_size:  # a ViT's positions belong to one image size
        options["img_size"] = spec.resolution
    try:
        model = timm.create_model(name, **options)
    except _UNFIT as error:
        raise _unfit(name, spec, error) from error
    return _fetched(timm, name, options) if pretrained else model


def _fetched(timm: Any, name: str, options: dict[str, Any]) -> Any:
    if not timm.is_model_pretrained(name):
        raise UserError(f"encoder '{name}:pretrained': {name} has no published weights; leave ':pretrained' out")
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # each of the hub's clients has errors of its own
        raise UserError(f"encoder '{name}:pretrained': the weights cannot be fetched ({_first_line(error)})") from error


def _require_whole_patches(name: str, model: Any, resolution: int) -> None:
    """A transformer drops what is left over at the right and the bottom, in silence; we do not."""
    patches = getattr(model, "patch_embed", None)
    side = getattr(patches, "patch_size", 1)
    side = side[0] if isinstance(side, tuple) else side
    if isinstance(side, int) and resolution % side:
        cuts = f"encoder {name!r} cuts {resolution}x{resolution} images into patches of {side} pixels"
        raise UserError(f"{cuts}; take a --resolution that is a multiple of {side}")


def _tried_width(name: str, model: Any, spec: Spec) -> int:
    """The width that comes out of one blank image; the announced one leaves out some models' last layer."""
    model.eval()
    try:
        with torch.no_grad():
            width = model(torch.zeros(1, *spec.shape)).shape[1]
    except _UNFIT as error:
        raise _unfit(name, spec, error) from error
    model.train()
    return width


def _unfit(name: str, spec: Spec, error: Exception) -> UserError:
    size = f"{spec.resolution}x{spec.resolution}"
    return UserError(f"encoder {name!r} cannot take {size} images ({_first_line(error)}); raise --resolution")


def _shrink_stem(model: Any) -> None:
    """A ResNet's first convolution becomes 3x3 with stride 1, its max-pool goes (He et al.'s form for CIFAR)."""
    if type(model).__module__ != "timm.models.resnet":
        return
    model.maxpool = nn.Identity()
    if isinstance(model.conv1, nn.Conv2d):
        model.conv1 = nn.Conv2d(model.conv1.in_channels, model.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm starts the others
    else:  # a deep stem is 3x3 already
        model.conv1[0].stride = (1, 1)


def _published_input(model: Any, spec: Spec) -> ImageInput:
    """The statistics a pretrained network was trained with; their mean where the data is not RGB."""
    mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
    if spec.channels != len(mean):
        mean, std = [sum(mean) / len(mean)] * spec.channels, [sum(std) / len(std)] * spec.channels
    return ImageInput(spec, mean, std)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
