"""Texts as a kind of data. This module implements the contract `Modality` with the other modules of this folder.

A text is stored as the numbers of its tokens [t], beside the text itself for display. Views and encoders read tokens;
dense layers, closed forms and baselines read TF-IDF vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from salience.modalities.modality import Items, Modality
from salience.modalities.text.spec import TextSpec
from salience.units import counted

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import torch
    from torch import Tensor

    from salience.fields.build_options import Built, Options
    from salience.fields.content import Found
    from salience.nets.encoder import Encoder
    from salience.nets.inputs import Input
    from salience.views.policy import Policy

TEXT = "text"  # the field of the text itself, and its column in a store


class Text(Modality[TextSpec]):
    """Texts [tokens] of different lengths."""

    name = "text"
    item = "text"
    plural = "texts"
    spec = TextSpec
    item_extensions = frozenset({".txt"})
    accompanies = True
    streams = True
    text_columns = (TEXT,)
    default_encoder = "transformer"
    supports = frozenset({"encoder", "vectors"})
    vector_encoder = "mlp"
    reading_options = frozenset({"tokenizer", "window", "hop"})
    policies: ClassVar[Mapping[str, str]] = {
        "text": "texts: crop, deleted tokens, dropout",
        "dropout": "texts as they are, dropout in the network (SimCSE)",
        "deletion": "texts: deleted tokens",
        "crop": "texts: crop",
    }

    # --- from a source to stored items

    def recognizes(self, content: Any) -> bool:
        from salience.fields.content import Encoded, Texts

        return isinstance(content, Texts) or (isinstance(content, Encoded) and content.kind == self.name)

    def build(self, found: Found, options: Options) -> Built:
        from salience.modalities.text.text_builder import build

        return build(found, options)

    def collate(self, stored: Any, rows: np.ndarray, spec: TextSpec) -> tuple[np.ndarray, np.ndarray]:
        ids, mask = stored.main.padded(rows)
        return ids.astype("int64"), mask

    def describe(self, shape: Sequence[int], dtype: str, count: int) -> str:
        return counted(count, "text")

    # --- the unit scale

    def unit(self, x: Any, spec: TextSpec) -> Tensor:
        return x.long()

    def width(self, spec: TextSpec) -> int:
        from salience.modalities.text.tf_idf import width

        return width(spec)

    def flat(self, x: Any, spec: TextSpec, dtype: torch.dtype, mask: Tensor | None = None) -> Tensor:
        from salience.modalities.text.tf_idf import tf_idf

        return tf_idf(x, spec, dtype)

    def value_range(self, spec: TextSpec) -> tuple[Tensor, Tensor]:
        import torch

        return torch.tensor(0.0), torch.tensor(2.0 * self.width(spec) ** 0.25)

    # --- views, networks, likelihoods

    def policy(self, name: str) -> Policy:
        from salience.modalities.text.policies import POLICIES

        return POLICIES[name]

    def default_policy(self, spec: TextSpec) -> tuple[str, str]:
        return "text", "the data are texts; use --views dropout to keep all tokens"

    def make_input(self, spec: TextSpec) -> Input:
        from salience.modalities.text.input import Bag

        return Bag(spec)

    def make_encoder(self, name: str, spec: TextSpec, *, dim: int | None, fetch: bool) -> Encoder:
        from salience.modalities.text.encoders import make_encoder

        return make_encoder(name, spec, dim=dim, fetch=fetch)

    # --- evaluation and show

    def raw_note(self, spec: TextSpec) -> str | None:
        return f"raw input and PCA use TF-IDF vectors of the {self.width(spec):,} tokens of the most texts"

    def has_near_duplicates(self, spec: TextSpec) -> bool:
        return True

    def near_signature(self, x: Any, spec: TextSpec) -> Tensor:
        from salience.modalities.text.tf_idf import signature

        return signature(x)

    def text(self, data: Items, row: int) -> str:
        stored: Any = data
        return str(stored.field(TEXT, row).tobytes().decode("utf-8"))

    def shown_view(self, x: Any, spec: TextSpec) -> Tensor:
        from salience.modalities.text.input import Bag

        shown: Tensor = Bag(spec)(x)
        return shown

    def frame(self, x: np.ndarray, spec: TextSpec) -> pd.DataFrame:
        from salience.modalities.text.tf_idf import frame

        return frame(x, spec)

    def value_names(self, spec: TextSpec) -> list[str]:
        from salience.modalities.text.tf_idf import names

        return names(spec)

    def query(self, words: str) -> list[str]:
        return [words]

    def store_names(self, spec: TextSpec) -> list[str]:
        return [TEXT]

    def store_columns(self, data: Any) -> dict[str, pa.Array]:
        import pyarrow as pa

        return {TEXT: pa.array([self.text(data, row) for row in range(len(data))], pa.string())}


MODALITY = Text()
