"""A view policy: what counts as the same thing. A unit-scale batch in, one view of each item out.

Of ragged items, a policy takes the mask of real tokens too, and gives the views and their mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from salience.views.random import Keys


@dataclass(frozen=True)
class Shape:
    """What a view is to be.

    side: of an image, in pixels;  part: a small part of the item instead of most of it (the "local" crops of SwAV and
    DINO; a part of a tenth to four tenths of the area, as a twentieth of a small image is a few pixels)
    """

    spec: Any
    side: int
    part: bool = False


Policy = Callable[..., Any]  # (x, keys, shape) -> x, or (x, keys, shape, mask) -> (x, mask)


def identity(x: Tensor, keys: Keys, shape: Shape, mask: Tensor | None = None) -> Any:
    """The item as it is; for methods that corrupt it themselves, and for comparison."""
    return x if mask is None else (x, mask)
