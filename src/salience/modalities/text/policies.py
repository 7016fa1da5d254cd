"""View policies of texts. A view is tokens, left out from both ends or within, and the random state of dropout.

"dropout" is SimCSE (Gao et al. 2021, https://arxiv.org/abs/2104.08821): two views of a text differ only in the hidden
values that the network drops. They are drawn from the keys of the items, so that a resumed run draws the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from salience.views.policy import Policy, Shape
from salience.views.random import Keys

DELETED = 0.2  # share of tokens
LEAST, LEAST_LOCAL, MOST_LOCAL = 0.5, 0.2, 0.5  # share of a text in a crop


def dropout(x: Tensor, keys: Keys, shape: Shape, mask: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Leave the tokens as they are, and drop hidden values in the network.  [n t], [n t]"""
    return {"ids": x, "keys": keys.fold("dropout").settled()}, mask


def deletion(x: Tensor, keys: Keys, shape: Shape, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Delete each token with probability 0.2 (0.5 in a local view); one token always stays.  [n t], [n t]"""
    u = keys.fold("delete").uniform(x.shape[1]).masked_fill(~mask, -1)
    kept = mask & (u >= (0.5 if shape.part else DELETED))
    last = u.argmax(dim=1, keepdim=True)
    return packed(x, kept | torch.zeros_like(kept).scatter(1, last, ~kept.any(dim=1, keepdim=True)))


def crop(x: Tensor, keys: Keys, shape: Shape, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Keep 50 % to 100 % of the tokens in a row, 20 % to 50 % in a local view, and at least one.  [n t], [n t]"""
    low, high = (LEAST_LOCAL, MOST_LOCAL) if shape.part else (LEAST, 1.0)
    length = mask.sum(dim=1)
    size = (keys.fold("size").between(low, high) * length).ceil().long().clamp(min=1)
    start = (keys.fold("start").uniform() * (length - size + 1)).long()
    position = torch.arange(x.shape[1], device=x.device)
    inside = (position >= start[:, None]) & (position < (start + size)[:, None])
    return packed(x, mask & inside)


def text(x: Tensor, keys: Keys, shape: Shape, mask: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Crop, then delete tokens, then drop hidden values.  [n t], [n t]"""
    x, mask = crop(x, keys, shape, mask)
    x, mask = deletion(x, keys, shape, mask)
    return dropout(x, keys, shape, mask)


def packed(x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Move the kept tokens to the left, in order.  [n t], [n t] -> [n t], [n t]"""
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
    mask = kept.gather(1, order)
    return x.gather(1, order) * mask, mask


POLICIES: dict[str, Policy] = {"text": text, "dropout": dropout, "deletion": deletion, "crop": crop}


def state_of(x: Any) -> Tensor | None:
    """Return the random state of dropout [n] of views; None without dropout."""
    return x["keys"] if isinstance(x, dict) else None
