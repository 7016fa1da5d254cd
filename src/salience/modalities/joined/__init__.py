"""Joined sources as a kind of data: each item has one part per source, such as a picture and its caption.

A batch contains the parts by name; the mask of a ragged part is NAME.mask. A method that learns from joined sources
declares `requires = ("parts",)`. Baselines, closed forms and pictures use the concatenated parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from salience.errors import UserError
from salience.modalities.joined.spec import JoinedSpec
from salience.modalities.modality import Items, Modality

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, dtype

    from salience.fields.build_options import Built, Options
    from salience.fields.content import Found
    from salience.nets.encoder import Encoder

MASK = ".mask"


class Joined(Modality[JoinedSpec]):
    """Items of several parts."""

    name = "joined"
    item = "joined item"
    plural = "joined items"
    spec = JoinedSpec
    default_encoder = "none"
    supports: ClassVar[frozenset[str]] = frozenset({"parts"})

    def recognizes(self, content: Any) -> bool:
        return False  # a single source has another kind; `open_data` joins several sources

    def build(self, found: Found, options: Options) -> Built:
        raise UserError("source: expected several sources by name, got one; open them with a dict of sources")

    def collate(self, stored: Any, rows: np.ndarray, spec: JoinedSpec) -> tuple[dict[str, Any], None]:
        """Return the items of every part by name, with the masks of ragged parts."""
        x: dict[str, Any] = {}
        for name, part in spec.parts:
            x[name], mask = part.modality.collate(stored[name], stored.rows(name, rows), part)
            if mask is not None:
                x[name + MASK] = mask
        return x, None

    def unit(self, x: dict[str, Any], spec: JoinedSpec) -> dict[str, Any]:
        return {**x, **{name: part.modality.unit(x[name], part) for name, part in spec.parts}}

    def width(self, spec: JoinedSpec) -> int:
        return sum(part.modality.width(part) for _, part in spec.parts)

    def flat(self, x: dict[str, Any], spec: JoinedSpec, dtype: dtype, mask: Tensor | None = None) -> Tensor:
        import torch

        flat = [part.modality.flat(x[name], part, dtype, x.get(name + MASK)) for name, part in spec.parts]
        return torch.cat(flat, dim=1)

    def make_encoder(self, name: str, spec: JoinedSpec, *, dim: int | None, fetch: bool) -> Encoder:
        raise UserError(
            "encoder: joined sources have no encoder of their own; fit a method that learns from several sources, or "
            "give one source"
        )

    def text(self, data: Items, row: int) -> str:
        return "; ".join(name for name, _ in data.spec.parts)


MODALITY = Joined()
