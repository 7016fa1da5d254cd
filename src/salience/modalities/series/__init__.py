"""Time series as a kind of data. This module implements the contract `Modality` with the other modules of this folder.

Series of one length are dense, [steps channels]; series of different lengths are ragged, and have no vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from salience.modalities.modality import Items, Modality
from salience.modalities.series.spec import SeriesSpec
from salience.units import counted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL import Image as Picture
    from torch import Tensor, dtype, nn

    from salience.fields.build_options import Built, Options
    from salience.fields.content import Found
    from salience.fields.source import Source
    from salience.nets.encoder import Encoder
    from salience.views.policy import Policy

RAW_STEPS = 128  # steps of the raw-input baseline; longer series are resampled to as many
SHOWN = 8  # values of a series in its text

__all__ = ["MODALITY", "UNEQUAL", "Series", "SeriesSpec", "UnequalSeries"]


class Series(Modality[SeriesSpec]):
    """Time series [steps channels] of one length."""

    name = "series"
    item = "series"
    plural = "series"
    spec = SeriesSpec
    extensions = (".ts",)
    default_encoder = "convnet"
    policies: ClassVar[Mapping[str, str]] = {
        "series": "series: crop, time warp, scaling, jitter",
        "values": "series whose timing carries meaning: scaling, jitter",
    }

    # --- from a source to stored items

    def source(self, given: Any, query: Any) -> Source | None:
        from salience.modalities.series.ts_source import open_ts

        return open_ts(given, query)

    def recognizes(self, content: Any) -> bool:
        from salience.fields.content import Arrays, Frames

        if isinstance(content, Frames):
            from salience.modalities.series.wide_table import is_wide

            return is_wide(content)
        return isinstance(content, Arrays) and (
            content.kind == self.name or (content.kind is None and content.axes < 3)
        )

    def accepts(self, content: Any) -> bool:
        import numpy as np

        from salience.fields.content import Frames

        array = isinstance(content, np.ndarray) and content.ndim in (2, 3)
        return array or isinstance(content, Frames) or self.recognizes(content)

    def build(self, found: Found, options: Options) -> Built:
        from salience.modalities.series.series_builder import build

        return build(found, options)

    def describe(self, shape: Sequence[int], dtype: str, count: int) -> str:
        length = "different lengths" if len(shape) == 1 else counted(shape[0], "step")
        return f"{counted(count, 'series', 'series')} of {length}, {counted(shape[-1], 'channel')}, {dtype}"

    def missing(self, x: Tensor) -> int:
        return int(x.isnan().sum())

    def to_array(self, unit: Tensor, spec: SeriesSpec, shape: Sequence[int]) -> np.ndarray:
        from salience.modalities.series.unit import stored_series

        return stored_series(unit, spec).numpy()

    # --- the unit scale

    def unit(self, x: Tensor, spec: SeriesSpec) -> Tensor:
        from salience.modalities.series.unit import unit_series

        return unit_series(x, spec)

    def width(self, spec: SeriesSpec) -> int:
        return spec.flat_steps * spec.channels

    def flat(self, x: Tensor, spec: SeriesSpec, dtype: dtype, mask: Tensor | None = None) -> Tensor:
        from salience.modalities.series.unit import resampled, unit_series

        unit = unit_series(x, spec, dtype)
        return (resampled(unit, spec.flat_steps, mask) if spec.ragged else unit).flatten(1)

    def unflatten(self, flat: Tensor, spec: SeriesSpec) -> Tensor:
        return flat.unflatten(1, (spec.flat_steps, spec.channels))

    def blank(self, spec: SeriesSpec) -> Tensor:
        import torch

        return torch.zeros(1, spec.flat_steps, spec.channels)

    def to_stored(self, x: Tensor, spec: SeriesSpec) -> np.ndarray | None:
        from salience.modalities.series.unit import stored_series

        return None if spec.ragged else stored_series(x, spec).numpy()

    # --- views, networks, likelihoods

    def policy(self, name: str) -> Policy:
        from salience.modalities.series.policies import POLICIES

        return POLICIES[name]

    def default_policy(self, spec: SeriesSpec) -> tuple[str, str]:
        if spec.views is not None:
            return spec.views, "set by the source"
        return "series", "the data are series; if the timing of events carries meaning, use --views values"

    def make_encoder(self, name: str, spec: SeriesSpec, *, dim: int | None, fetch: bool) -> Encoder:
        from salience.modalities.series.encoders import make_encoder

        return make_encoder(name, spec, dim=dim)

    def make_decoder(self, encoder: str, spec: SeriesSpec, dim: int) -> nn.Module:
        from salience.modalities.series.convnet import ConvDecoder

        return ConvDecoder(dim, spec)

    def to_range(self, x: Tensor, spec: SeriesSpec) -> Tensor:
        return x.reshape(-1, spec.flat_steps, spec.channels)

    # --- evaluation and show

    def raw_features(self, x: Tensor, spec: SeriesSpec, mask: Tensor | None = None) -> Tensor:
        from salience.modalities.series.raw_features import raw_features

        return raw_features(self.unit(x, spec), min(spec.flat_steps, RAW_STEPS), mask)

    def raw_note(self, spec: SeriesSpec) -> str | None:
        steps = min(spec.flat_steps, RAW_STEPS)
        if not spec.ragged and steps == spec.shape[0]:
            return None
        return f"raw input and PCA use series resampled to {steps} steps, with the mean and deviation of each channel"

    def compare(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        mae = (x.double() - y.double()).abs().flatten(1).mean(dim=1)
        return {**super().compare(x, y), "mae": mae}

    def picture(self, data: Items, row: int) -> Picture.Image:
        from salience.modalities.series.pictures import draw

        return draw(data, row)

    def text(self, data: Items, row: int) -> str:
        x = data.item(row)
        values = " ".join(f"{value:.3g}" for value in x[:SHOWN, 0]) + " ..." * (len(x) > SHOWN)
        rate = data.spec.rate
        lasting = "" if rate is None else f", {len(x) / rate:.3g} s"
        return f"{counted(len(x), 'step')}, {counted(x.shape[1], 'channel')}{lasting}: {values}"

    def value_names(self, spec: SeriesSpec) -> list[str]:
        if spec.channels == 1:
            return [f"step {step}" for step in range(spec.flat_steps)]
        return [f"channel {one}, step {step}" for step in range(spec.flat_steps) for one in range(spec.channels)]

    def thumbnails(self, data: Any) -> pa.Array:
        from salience.modalities.series.pictures import thumbnails

        return thumbnails(data)


class UnequalSeries(Series):
    """Time series [steps channels] of different lengths. They are encoded, but not decoded."""

    supports: ClassVar[frozenset[str]] = frozenset({"encoder"})


MODALITY, UNEQUAL = Series(), UnequalSeries()
