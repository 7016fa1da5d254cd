"""The body of the encoders of texts: a transformer of the package transformers, and the mean over real tokens.

Dropout is 0, except in views that ask for it: then every dropout layer of the network drops a tenth of the values, by
the keys of the items. Items are computed in groups of one padded length, so that short texts cost little.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from salience.errors import MissingPackage
from salience.fields.stored_items import padded_lengths
from salience.modalities.text.input import ids_of
from salience.modalities.text.policies import state_of
from salience.nets.encoder import Whole
from salience.views.random import Keys

DROPPED = 0.1
SIZES = {"transformer": (2, 128), "transformer-mini": (4, 256), "transformer-small": (4, 512)}  # layers, width
WIDTH_OF_HEAD = 64


def library() -> Any:
    """Return the package transformers."""
    try:
        import transformers
    except ImportError as error:
        raise MissingPackage(
            "encoder: transformers of texts need the package transformers; pip install 'salience[text]'"
        ) from error
    return transformers


def make_network(name: str, tokens: int, longest: int) -> tuple[nn.Module, int]:
    """Make a BERT with random weights, of a size of Turc et al. 2019, https://arxiv.org/abs/1908.08962.

    Args:
        name: One of SIZES.
        tokens: Number of different tokens, with 0 for padding.
        longest: The most tokens of a text.

    Returns:
        The network and the width of its output.
    """
    layers, width = SIZES[name]
    hf = library()
    config = hf.BertConfig(
        vocab_size=tokens,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // WIDTH_OF_HEAD,
        intermediate_size=4 * width,
        max_position_embeddings=int(padded_lengths(np.array([longest]))[0]),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return hf.BertModel(config, add_pooling_layer=False), width


class KeyedDropout(nn.Module):
    """Dropout whose values are drawn from the keys of the items, in training and in evaluation.

    Attributes:
        name: Name of the layer, so that each draws other values.
        state: [n] int64 keys; None drops nothing.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.p = 0.0  # that attention reads for its own weights
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.state is None:
            return x
        dropped = Keys(self.state).fold(self.name).coarse_chance(DROPPED, *x.shape[1:])
        return x.masked_fill(dropped, 0.0) / (1 - DROPPED)


def use_keys(network: nn.Module) -> list[KeyedDropout]:
    """Replace the dropout layers of a network in place, and return the new ones."""
    found = [name for name, part in network.named_modules() if isinstance(part, nn.Dropout)]
    for name in found:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, KeyedDropout(name))
    return [part for part in network.modules() if isinstance(part, KeyedDropout)]


class Transformer(Whole):
    """The mean of a transformer's output over real tokens, and a linear map to `dim` values if it is given.

    tokens [n t] of which 0 is padding, mask [n t] -> [n dim]

    Args:
        network: A network of transformers without a head.
        width: Width of its output.
        dim: Width of the result; None for that of the network.
        first: The stored value of the network's token 0.
        longest: The most tokens that the network reads.
    """

    def __init__(
        self, network: nn.Module, width: int, dim: int | None = None, *, first: int = 0, longest: int = 1 << 30
    ) -> None:
        super().__init__()
        self.network = network
        self.dropouts = tuple(use_keys(network))
        self.code = nn.Identity() if dim is None else nn.Linear(width, dim)
        self.width = width
        self.first, self.longest = first, longest

    def forward(self, x: Any, mask: Tensor | None = None) -> Tensor:
        ids, state = ids_of(x), state_of(x)
        mask = ids > 0 if mask is None else mask
        ids, mask = ids[:, : self.longest], mask[:, : self.longest]
        if ids.device.type != "cpu":
            return self.code(self._mean(ids, mask, state))
        rows, means = [], []
        for some, length in _groups(mask):
            rows.append(some)
            own = None if state is None else state[some]
            means.append(self._mean(ids[some, :length], mask[some, :length], own))
        return self.code(torch.cat(means)[torch.cat(rows).argsort()])

    def _mean(self, ids: Tensor, mask: Tensor, state: Tensor | None) -> Tensor:
        """Return the mean over real tokens.  [n t], [n t] -> [n width]"""
        with self._dropping(state):
            hidden = self.network(
                input_ids=(ids - self.first).clamp(min=0),
                attention_mask=mask[:, None, None, :],  # of four dimensions, so that it is used even if all are real
            ).last_hidden_state
        weights = mask[..., None].to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)

    @contextmanager
    def _dropping(self, state: Tensor | None) -> Iterator[None]:
        for layer in self.dropouts:
            layer.state = state
        try:
            yield
        finally:
            for layer in self.dropouts:
                layer.state = None


def _groups(mask: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Iterate over the rows of each padded length, and this length."""
    lengths = padded_lengths(mask.sum(dim=1).numpy()).clip(max=mask.shape[1])
    for length in np.unique(lengths):
        yield torch.from_numpy(np.flatnonzero(lengths == length)), int(length)
