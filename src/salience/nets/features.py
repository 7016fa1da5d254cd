"""What the layers of a fixed network make of an item, to compare items by."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from salience.nets.encoder import BodyWithLayers, Encoder, Whole

SEQUENCES = (nn.Sequential, BodyWithLayers)  # whose parts follow each other
NONLINEAR = (nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh, nn.Sigmoid)


class Features(nn.Module):
    """The first layers of an encoder that never changes.  [n ...] on the unit scale -> one tensor [n ...] a layer

    layers: how many, at most. Of convolutions the first nonlinearity at each size of the maps (VGG's relu1_1, relu2_1,
        relu3_1), of other networks every nonlinearity, and the output of one that has none
    """

    def __init__(self, encoder: Encoder, layers: int) -> None:
        super().__init__()
        self.input = encoder.input
        body = _without_code(encoder.body)
        self.names = _layers_of(body, encoder)[:layers]
        self.body = _until(body, self.names[-1])
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Features:
        """Stays as it is in use: what its batch norms remember is part of what it compares by."""
        return super().train(False)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: what listens to the layers cannot be compiled."""

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = _activations(self.body, self.input(x), self.names)
        return [seen[name] for name in self.names]


def keep_scale(network: nn.Module) -> None:
    """Random weights anew, by which the layers of a network see items at about the same scale (He et al. 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _activations(body: nn.Module, x: Tensor, names: list[str]) -> dict[str, Tensor]:
    """What these parts give, in the order they do so; a part that is used twice, at first."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, part: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.setdefault(name, output)

    hooks = [body.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
    try:
        body(x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@torch.no_grad()
def _layers_of(body: nn.Module, encoder: Encoder) -> list[str]:
    """Names of the parts to listen to, in the order in which a blank item passes them."""
    spec = encoder.input.spec
    blank = spec.modality.blank(spec)
    body.eval()
    candidates = [name for name, part in body.named_modules() if isinstance(part, NONLINEAR)]
    first: dict[Any, str] = {}
    for name, output in _activations(body, encoder.input(blank), candidates).items():
        size = tuple(output.shape[2:]) if output.ndim == 4 else name
        if size != (1, 1):  # the gates of squeeze-and-excitation, or a map that says no longer where
            first.setdefault(size, name)
    return list(first.values()) or [""]


def _without_code(body: nn.Module) -> nn.Module:
    """The network under the linear layer that a chosen width has put on top: the same whatever the width."""
    parts = list(body.children())
    added = type(body) in SEQUENCES and len(parts) == 2 and isinstance(parts[1], nn.Linear)
    return parts[0] if added and isinstance(parts[0], nn.Sequential | Whole) else body


def _until(body: nn.Module, name: str) -> nn.Module:
    """A sequence without what comes after the part of this name; any other network whole."""
    first, _, rest = name.partition(".")
    if type(body) not in SEQUENCES or not first:
        return body
    *before, last = list(body.children())[: int(first) + 1]
    return nn.Sequential(*before, _until(last, rest))
