"""A picture of what a method will see: each item as it is, then several draws of it."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from salience.batch import Batch, Progress, Spec
from salience.views.views import Views


def draw(views: Views, batch: Batch, spec: Spec, at: Progress, *, draws: int = 6) -> Figure:
    """Originals in the first column, `draws` views per role in the next ones, a row per item.

    batch: as stored; a page shows 8 items well.  A table gives one heat map per column of the picture, rows by values.
    """
    more = Views(views.policy, spec, dict.fromkeys(views.roles, draws)).to(batch.index.device)
    columns = [("original", more.unit(batch.x))]
    for role, drawn in more(batch, at).items():
        columns += [(role if i == 0 else "", view.x) for i, view in enumerate(drawn)]
    return _images(columns) if spec.modality == "image" else _tables(columns, spec)


def _images(columns: list[tuple[str, Tensor]]) -> Figure:
    items = len(columns[0][1])
    figure = Figure(figsize=(1.1 * len(columns), 1.1 * items + 0.4), layout="constrained")
    axes = figure.subplots(items, len(columns), squeeze=False)
    for across, (title, x) in enumerate(columns):
        axes[0, across].set_title(title, loc="left", fontsize=9)
        for down in range(items):
            _show(axes[down, across], x[down])
    return figure


def _show(axes: Any, image: Tensor) -> None:
    """image: [c h w] on the unit scale; other than 3 channels are shown by their mean."""
    shown = image.permute(1, 2, 0) if len(image) == 3 else image.mean(0)
    axes.imshow(shown.clamp(0, 1).cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()


def _tables(columns: list[tuple[str, Tensor]], spec: Spec) -> Figure:
    """Red above, blue below what is expected; white is expected or hidden."""
    items, width = columns[0][1].shape
    size = (max(1.2, 0.18 * width) * len(columns), 0.25 * items + 1.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for at, (title, x) in zip(axes, columns, strict=True):
        heat = at.imshow(x.cpu().numpy(), cmap="RdBu_r", vmin=-2.5, vmax=2.5, aspect="auto", interpolation="nearest")
        at.set_title(title, loc="left", fontsize=9)
        at.set_yticks([])
        at.set_xticks([])
    axes[0].set_xticks(range(width), _value_names(spec), rotation=90, fontsize=6)
    figure.colorbar(heat, ax=list(axes), label="standard deviations from the mean")
    return figure


def _value_names(spec: Spec) -> list[str]:
    """A name for each unit-scale value: the column's, with its category."""
    names = []
    for column in spec.columns:
        names += [column.name] if column.kind == "number" else [f"{column.name}={c}" for c in column.categories]
    return names
