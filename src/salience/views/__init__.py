"""Random views of whole batches on the training device, with independent draws for each item.

    from salience.views import natural

    a, b = natural(x, seed=0), natural(x, seed=1)  # x: [n 3 h w], uint8 or in [0, 1]

The view policies of images are functions of plain tensors: natural, grey, crops, glyphs, medical.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from salience.views.random import Keys
from salience.views.views import ANY, IDENTITY, Views, default_policy, make_views

OF_IMAGES = ("crops", "glyphs", "grey", "medical", "natural")
_PLACE = "salience.modalities.image.tensor_views"

__all__ = ["ANY", "IDENTITY", "Keys", "Views", "crops", "default_policy", "glyphs", "grey", "make_views", "medical",
           "natural"]  # fmt: skip

if TYPE_CHECKING:
    from salience.modalities.image.tensor_views import crops as crops
    from salience.modalities.image.tensor_views import glyphs as glyphs
    from salience.modalities.image.tensor_views import grey as grey
    from salience.modalities.image.tensor_views import medical as medical
    from salience.modalities.image.tensor_views import natural as natural
else:

    def __getattr__(name: str) -> object:
        """Import the policies of images when they are first used."""
        import importlib

        if name not in OF_IMAGES:
            raise AttributeError(f"module 'salience.views' has no attribute {name!r}")
        return getattr(importlib.import_module(_PLACE), name)
