"""A picture of what a method will see: several items, each as stored and in several of its random views."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from salience.batch import Batch, Progress
from salience.catalogue import Entry
from salience.data import Dataset, open_data
from salience.drawing import drawable
from salience.errors import UserError
from salience.files import atomic, require_free
from salience.methods import ClosedForm, Context, Method, method_class
from salience.own_code import taken
from salience.reading import AS_FOUND, Reading
from salience.training.suit import suited, views_of
from salience.units import check_seed, check_whole
from salience.verbs.pictures import pictures, set_title, table_figure
from salience.views import Views, make_views

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def preview(
    method: Any,
    source: Any,
    out: Path | str | None = None,
    *,
    views: Any = None,
    resolution: int | None = None,
    seed: int = 0,
    reading: Reading = AS_FOUND,
    items: int = 6,
    draws: int = 6,
) -> Path:
    """Draw several items, one per row: the stored item, then its views. Return the path of the picture.

    Args:
        source: Any source of `open_data`, or a Dataset. Default: the source that the run was trained on.
        method: Name of the method.
        items: Number of items.
        draws: Number of views per item.
        out: New file ending in .png, .svg or .pdf. Default: views-METHOD-SOURCE.png, which is overwritten.
        views: View policy. Default: the one that suits the data.
        resolution: Height and width of the images, in pixels.
        seed: Random seed of the items and of the views.
        reading: How the source is read (see `Reading`).

    Raises:
        UserError: The method or the policy is unknown, the method does not support the data, or the file exists.
    """
    entry, code, given = taken(method, {"views": views})
    seed, method, policy = check_seed(seed), entry.name, code.part("views", given["views"])
    items, draws = check_whole("items", items, 1), check_whole("draws", draws, 1)
    path = _picture_path(out, method, source)
    dataset = source if isinstance(source, Dataset) else open_data(source, resolution=resolution, reading=reading)
    entry.refuse_unfit(dataset.name, dataset.spec)
    rows = np.random.default_rng(seed).permutation(len(dataset))[:items]
    batch = dataset.batch(rows)
    seen_by = _views_of(entry, dataset, policy)
    drawn = [("as stored", seen_by.unit(batch.x)), *_draws(seen_by, batch, seed, draws)]
    drawn = [(name, dataset.spec.modality.shown_view(x, dataset.spec)) for name, x in drawn]
    title = f"{method} on {dataset.name}: " + ("items as they are" if seen_by.policy == "identity" else seen_by.policy)
    figure = _image_figure(drawn) if dataset.spec.modality.shows_pictures else table_figure(drawn)
    set_title(figure, f"{title}, seed {seed}")
    with atomic(path, make_folder=True) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=150)
    return path


def _views_of(method: Entry, dataset: Dataset, policy: Any) -> Views:
    """The views the method would draw; one that draws none sees the items as they are."""

    def build(dataset: Dataset) -> Method | ClosedForm:
        return method_class(method).build(Context(dataset.spec, len(dataset), views=policy, fetch=False))

    built = build(dataset)
    if views_of(built) is None:
        if policy is not None:
            raise UserError(f"views: {method.name} does not use views; leave --views out")
        return make_views("identity", dataset.spec, roles={"item": 1})
    fitting, _ = suited(dataset, built, policy)
    drawn = views_of(built if fitting is dataset else build(fitting))
    assert drawn is not None
    return drawn


def _draws(views: Views, batch: Batch, seed: int, count: int) -> Iterator[tuple[str, Tensor]]:
    """`count` views by name, each x [n ...] on the unit scale: those of the first epoch, then of the next."""
    if views.policy == "identity":
        return
    drawn = 0
    for epoch in range(count):
        for role, made in views(batch, Progress(seed=seed, epoch=epoch)).items():
            for view in made[: count - drawn]:
                drawn += 1
                yield role, view.x
        if drawn == count:
            return


def _image_figure(drawn: list[tuple[str, Tensor]]) -> Figure:
    from matplotlib.figure import Figure

    rows, columns = len(drawn[0][1]), len(drawn)
    figure = Figure(figsize=(1.1 * columns, 1.1 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for column, (name, x) in enumerate(drawn):
        axes[0, column].set_title(drawable(name), fontsize=8)
        for row, picture in enumerate(pictures(x)):
            axes[row, column].imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes[row, column].set_axis_off()
    return figure


def _picture_path(out: Path | str | None, method: str, source: Any) -> Path:
    if out is None:
        stem = Path(str(source)).name if isinstance(source, str | Path) else "memory"
        return Path(f"views-{method}-{stem.replace(':', '-')}.png")
    path = Path(out)
    if path.suffix[1:] not in FORMATS:
        raise UserError(
            f"out: {path} is not an image file; the name must end in {', '.join('.' + name for name in FORMATS)}"
        )
    require_free(path)
    return path
