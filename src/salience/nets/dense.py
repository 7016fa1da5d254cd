"""Dense nets of a chosen depth, codes with a last layer of their own, and networks that treat each item on its own."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import nn

from salience.errors import UserError
from salience.nets.encoder import BodyWithLayers, Encoder
from salience.nets.inputs import input_width, make_input

if TYPE_CHECKING:
    from salience.modalities.spec import Spec

_PLAIN_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def halving(first: int, depth: int, least: int = 1) -> tuple[int, ...]:
    """`depth` widths, each half of the one before and none below `least`: 1000, 500, 250."""
    return tuple(max(least, first >> level) for level in range(depth))


def dense_layers(*widths: int) -> list[nn.Module]:
    """Linear layers through these widths, each followed by batch norm, which has the bias, and ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return layers


def mlp(width: int, hidden: tuple[int, ...] = (256, 256)) -> tuple[nn.Sequential, int]:
    """Dense layers with batch norm and ReLU; images are flattened.  [n ...] -> [n hidden[-1]]"""
    return nn.Sequential(nn.Flatten(), *dense_layers(width, *hidden)), hidden[-1]


def linear(width: int, dim: int) -> tuple[nn.Sequential, int]:
    """One linear map of the flattened item.  [n ...] -> [n dim]"""
    return nn.Sequential(nn.Flatten(), nn.Linear(width, dim)), dim


def dense_encoder(spec: Spec, dim: int, hidden: tuple[int, ...]) -> Encoder:
    """Dense layers with batch norm and ReLU through these widths, then a linear code.  [n ...] -> [n dim]"""
    body, width = mlp(input_width(spec), hidden)
    return Encoder(make_input(spec), nn.Sequential(body, nn.Linear(width, dim)), dim)


def require_dense(encoder: Any, method: str) -> None:
    """Raises UserError where another encoder than dense layers was asked for."""
    if encoder not in (None, "mlp"):
        raise UserError(
            f"encoder: '{encoder}' was given, but {method} uses its own dense layers; leave this option out"
        )


def last_layer(encoder: Encoder) -> nn.Linear:
    """The linear layer that makes an encoder's code, where its width was asked for."""
    layer = encoder.body[-1] if isinstance(encoder.body, nn.Sequential) else None
    if not isinstance(layer, nn.Linear):
        raise TypeError("the encoder has no code; give make_encoder a dim")
    return layer


def followed_by(encoder: Encoder, layer: nn.Module) -> Encoder:
    """The encoder with one more layer, of as many outputs as inputs, on its code."""
    return Encoder(encoder.input, BodyWithLayers(encoder.body, layer), encoder.dim, encoder.stride)


def item_by_item(encoder: Encoder) -> Encoder:
    """Every batch norm becomes a group norm over all of an item's channels, in place: no item sees another.

    Errors: UserError where a batch norm is of a kind that does more than that.
    """
    for parent in list(encoder.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and type(norm) in _PLAIN_NORMS:
                setattr(parent, name, nn.GroupNorm(1, norm.num_features, affine=norm.affine))
            elif isinstance(norm, nn.modules.batchnorm._BatchNorm):
                raise UserError(
                    f"encoder: its {type(norm).__name__} layers mix the items of a batch; use convnet, mlp or linear"
                )
    return encoder
