"""Encoder bodies from timm, adapted to small images."""

from __future__ import annotations

import difflib
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import safe_open
from torch import Tensor, nn

from salience.errors import MissingPackage, UserError
from salience.modalities.image.input import ImageInput
from salience.modalities.image.spec import ImageSpec
from salience.nets.encoder import Whole
from salience.nets.make import DENSE

SMALL = 64  # up to this resolution a ResNet's stem (7x7, stride 2, max-pool) would throw most of the image away
PATCHES = 7  # minimum number of patches per side of a small image in a vision transformer
OWN = ("convnet", *DENSE)
WEIGHTS = ".safetensors"  # the only supported format, because a pickle can run code
PATIENCE = 5.0  # seconds to wait for a server
TRANSFORMERS = ("vit_", "test_vit", "deit_")
_UNFIT = (ValueError, AssertionError, ZeroDivisionError, RuntimeError, TypeError)  # errors of models for a wrong size


class TimmBody(Whole):
    """A timm model without its classifier, with its own pooling.  [n c h w] -> [n width]"""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def timm_body(name: str, spec: ImageSpec, *, fetch: bool) -> tuple[ImageInput, TimmBody, int, int | None]:
    """Make an encoder body from timm.

    Images of up to 64 pixels per side get a 3x3 stem (ResNet) or at least 7x7 patches (ViT), except with published
    weights.

    Args:
        name: "resnet18", "resnet18:pretrained" with published weights, or "resnet18:FILE.safetensors".
        spec: The spec of the images.
        fetch: Whether to download weights; False makes the same network, to be filled from a run.

    Returns:
        Input layer, body, width of its output, and stride.

    Raises:
        UserError: The name is unknown, or the weights cannot be read.
        MissingPackage: timm is not installed.
    """
    name, _, tag = name.partition(":")
    if name in OWN:
        raise UserError(f"encoder: '{name}:{tag}' has no published weights; leave ':{tag}' out")
    if tag not in ("", "pretrained") and not tag.endswith(WEIGHTS):
        ways = f"':pretrained' or a file of weights ':NAME{WEIGHTS}'"
        raise UserError(f"encoder: '{name}:{tag}' has an unknown ending; expected {ways}")
    timm = _import_timm(name)
    if not timm.is_model(name):
        raise UserError(_unknown(name, [*OWN, *timm.list_models()]))
    model = _create(timm, name, spec, tag if fetch else "")
    _require_whole_patches(name, model, spec.resolution)
    if not tag and spec.resolution <= SMALL:
        _shrink_stem(model)
    inputs = _published_input(model, spec) if tag else ImageInput(spec)
    return inputs, TimmBody(model), _tried_width(name, model, spec), _stride(model, spec)


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        near = difflib.get_close_matches(name, OWN, n=1, cutoff=0.7)
        if near:
            raise UserError(_unknown(name, OWN)) from error
        raise MissingPackage(f"encoder: {name!r} needs timm; install it with pip install 'salience[timm]'") from error
    return timm


def with_published_weights(timm: Any, name: str, options: dict[str, Any]) -> Any:
    """Make a timm model with its published weights, from the cache or the hub."""
    return _with_weights(timm, name, "pretrained", options)


def unknown_encoder(name: str, models: list[str]) -> str:
    """Return the message about a name that no network has."""
    return _unknown(name, [*OWN, *models])


def _unknown(name: str, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"use {', '.join(OWN)} or the name of a timm model"
    return f"encoder: unknown encoder {name!r}; {hint}"


def _create(timm: Any, name: str, spec: ImageSpec, weights: str) -> Any:
    """Make a timm model. `weights`: "pretrained", a file of weights, or "" for random weights."""
    published = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": 0, "in_chans": spec.channels}
    if published is not None and published.fixed_input_size:  # a ViT's positions belong to one image size
        options["img_size"] = spec.resolution
    if name.startswith(TRANSFORMERS):
        options["dynamic_img_size"] = True  # positions are interpolated for local crops
        patch = _patch_side(name, spec.resolution)
        if patch is not None and not weights:
            options["patch_size"] = patch
    try:
        model = timm.create_model(name, **options)
    except _UNFIT as error:
        raise _unfit(name, spec, error) from error
    return _with_weights(timm, name, weights, options) if weights else model


def _patch_side(name: str, resolution: int) -> int | None:
    """Return the side of the patches of a small image in pixels; None if the published patches are small enough."""
    published = re.search(r"patch(\d+)", name)
    most = resolution // PATCHES
    if resolution > SMALL or most < 1 or (published and int(published[1]) <= most):
        return None
    return max(side for side in range(1, most + 1) if resolution % side == 0)


def _stride(model: Any, spec: ImageSpec) -> int | None:
    """Return the number that divides valid sides of local crops; None if the model does not support half the side."""
    patches = getattr(model, "patch_embed", None)
    if patches is not None and not getattr(model, "dynamic_img_size", False):
        return None
    stride = patches.patch_size[0] if patches is not None else 1
    half = spec.resolution // 2 // stride * stride
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, spec.channels, half, half))
    except _UNFIT:
        return None
    finally:
        model.train()
    return stride


def _with_weights(timm: Any, name: str, weights: str, options: dict[str, Any]) -> Any:
    if weights != "pretrained":
        return _loaded(timm, name, Path(weights).expanduser(), options)
    if not timm.is_model_pretrained(name):
        raise UserError(f"encoder: '{name}:pretrained' has no published weights; leave ':pretrained' out")
    published = timm.get_pretrained_cfg(name)
    kept = cached(published)
    if kept is not None:  # without a network, the hub's client would first wait for most of a minute
        return _loaded(timm, name, kept, options)
    _require_network(name, published)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # each client of the hub has its own exceptions
        raise UserError(f"encoder: '{name}:pretrained': cannot download the weights ({_first_line(error)})") from error


def _loaded(timm: Any, name: str, path: Path, options: dict[str, Any]) -> Any:
    if not path.is_file():
        raise UserError(f"encoder: '{name}:{path}': the file of weights does not exist")
    try:
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **options)
        _require_same_names(model, path)
    except Exception as error:  # damaged files, or files of another network, can raise any exception
        raise UserError(f"encoder: {path} does not contain weights of {name} ({_first_line(error)})") from error
    return model


def _require_same_names(model: Any, path: Path) -> None:
    """Raise ValueError if the file lacks weights or has additional ones, which timm ignores without a message."""
    classifier = tuple(f"{name}." for name in _names(model.pretrained_cfg.get("classifier")))
    with safe_open(path, "pt") as file:
        given = {name for name in file.keys() if not name.startswith(classifier)}  # noqa: SIM118 - it is no mapping
    odd = given.symmetric_difference(model.state_dict())
    if odd:
        raise ValueError(f"{min(odd)} is {'not in the network' if min(odd) in given else 'missing'}")


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def cached(published: Any) -> Path | None:
    """Return the file of the published weights in Hugging Face's cache; None if it is not cached."""
    if not published.hf_hub_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(published.hf_hub_id, published.hf_hub_filename or f"model{WEIGHTS}")
    return Path(found) if isinstance(found, str) else None


def _require_network(name: str, published: Any) -> None:
    """Raise UserError immediately if the server is not reachable, instead of retries for most of a minute."""
    from huggingface_hub import constants

    page = f"{constants.ENDPOINT}/{published.hf_hub_id}" if published.hf_hub_id else published.url
    if reachable(page):
        return
    file = f"{page}/resolve/main/model{WEIGHTS}" if published.hf_hub_id else page
    raise UserError(
        f"encoder: '{name}:pretrained': {urlsplit(page).hostname} cannot be reached, and the weights are not in "
        f"{constants.HF_HUB_CACHE}; download {file} elsewhere, and use --encoder {name}:FILE{WEIGHTS}"
    )


def reachable(url: str) -> bool:
    """Return whether a server answers within some seconds. Behind a proxy, it is assumed to be reachable."""
    if getproxies():
        return True
    place = urlsplit(url)
    answered = threading.Event()

    def ask() -> None:
        port = place.port or (443 if place.scheme == "https" else 80)
        with suppress(OSError), socket.create_connection((place.hostname or "", port), PATIENCE):
            answered.set()

    # In a thread, because name resolution without a network has its own timeout.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return answered.is_set()


def _require_whole_patches(name: str, model: Any, resolution: int) -> None:
    """Raise UserError if patches do not divide the image; a transformer would ignore the rest of its pixels."""
    patches = getattr(model, "patch_embed", None)
    side = getattr(patches, "patch_size", 1)
    side = side[0] if isinstance(side, tuple) else side
    if isinstance(side, int) and resolution % side:
        cuts = f"encoder: {name!r} cuts {resolution}x{resolution} images into patches of {side} pixels"
        raise UserError(f"{cuts}; use a --resolution that is a multiple of {side}")


def _tried_width(name: str, model: Any, spec: ImageSpec) -> int:
    """Measure the width of the output with a blank image; the declared width is wrong for some models."""
    model.eval()
    try:
        with torch.no_grad():
            width = model(torch.zeros(1, *spec.shape)).shape[1]
    except _UNFIT as error:
        raise _unfit(name, spec, error) from error
    model.train()
    return width


def _unfit(name: str, spec: ImageSpec, error: Exception) -> UserError:
    size = f"{spec.resolution}x{spec.resolution}"
    return UserError(f"encoder: {name!r} cannot take {size} images ({_first_line(error)}); raise --resolution")


def _shrink_stem(model: Any) -> None:
    """Replace a ResNet's first convolution by 3x3 with stride 1 and remove its max-pool (He et al. for CIFAR)."""
    if type(model).__module__ != "timm.models.resnet":
        return
    model.maxpool = nn.Identity()
    if isinstance(model.conv1, nn.Conv2d):
        model.conv1 = nn.Conv2d(model.conv1.in_channels, model.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm starts the others
    else:  # a deep stem is 3x3 already
        model.conv1[0].stride = (1, 1)


def _published_input(model: Any, spec: ImageSpec) -> ImageInput:
    """Make the input layer with the statistics of the pretraining data, averaged over channels if not RGB."""
    mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
    if spec.channels != len(mean):
        mean, std = [sum(mean) / len(mean)] * spec.channels, [sum(std) / len(std)] * spec.channels
    return ImageInput(spec, mean, std)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
