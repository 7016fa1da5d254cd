"""View policies. A policy maps a unit-scale batch to one random view of each item.

For ragged items, a policy also takes the mask of real tokens, and returns the views with their mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from salience.views.random import Keys


@dataclass(frozen=True)
class Shape:
    """The shape of a view.

    Attributes:
        spec: The spec of the items.
        side: Side of an image, in pixels.
        part: Whether the view shows a small part of the item instead of most of it (the local crops of SwAV and DINO;
            here 10 % to 40 % of the area, because 5 % of a small image is a few pixels).
    """

    spec: Any
    side: int
    part: bool = False


Policy = Callable[..., Any]  # (x, keys, shape) -> x, or (x, keys, shape, mask) -> (x, mask)


def identity(x: Tensor, keys: Keys, shape: Shape, mask: Tensor | None = None) -> Any:
    """Return the item unchanged; for methods that corrupt it themselves, and for comparison."""
    return x if mask is None else (x, mask)
