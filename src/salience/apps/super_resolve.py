"""Larger images of small ones, and how much nearer to the truth they are than interpolation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from salience.apps.outcome import Outcome, Place, about, finished, item_names, placed, save_items
from salience.apps.pictures import Strip, sheet
from salience.apps.streams import as_run, batches, note_seen, require_images, units_of, within
from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.evaluation import intervals
from salience.evaluation.fidelity import SHOWN, fidelity, means
from salience.evaluation.intervals import Metric
from salience.modalities.image import check_convertible
from salience.representation import Representation
from salience.views.unit import unit_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 8
TILE = 128  # details must be seen
NAMES = {"run": "the run", "bicubic": "bicubic interpolation"}


def super_resolve(
    run: Representation | Path | str,
    source: Any,
    out: Path | str | None = None,
    *,
    as_is: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Outcome:
    """Shrinks images by the run's factor, enlarges them again, and compares with the originals.

    run: a Representation or a run folder, of a method that enlarges
    source: images: anything `open_data` takes, or a Dataset
    out: a new folder for super-resolve.json, items.csv and picture.png; None writes nothing
    as_is: the images are not shrunk, and nothing is judged: enlarged.npy and PNG files of all of them
    seed: of the items drawn
    -> figures mse, psnr, ssim of the run and of bicubic interpolation, and the run's gain; means over items with 95 %
       intervals.  An image is shrunk by taking means of squares, as in training
    Errors: UserError where the method does not enlarge, the data does not fit, or `out` exists.
    """
    with placed(out) as place:
        rep = as_run(run, "enlarge", "super-resolve")
        factor: int = rep.method.factor  # type: ignore[assignment]
        if as_is:
            outcome = _enlarged(place, rep, _as_it_is(rep, source), factor, progress)
        else:
            data = rep.open(source)
            require_images(data, "super-resolution")
            outcome = _compared(place, rep, data, factor, note_seen(rep, data, source), seed, progress)
    return finished(outcome, out)


def shrunk(x: Tensor, factor: int) -> Tensor:
    """Each pixel the mean of a square.  [n c h w] -> [n c h/factor w/factor]"""
    return F.avg_pool2d(x, factor)


def bicubic(x: Tensor, factor: int) -> Tensor:
    """[n c h w] -> [n c factor*h factor*w]"""
    return F.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False).clamp(0, 1)


def _compared(
    place: Place, rep: Representation, data: Dataset, factor: int, notes: list[str], seed: int, progress: bool
) -> Outcome:
    found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in NAMES}
    for batch in batches(data, "super-resolve", progress):
        x = rep.unit(batch)
        for name, larger in _both(rep, shrunk(x, factor), factor).items():
            found[name].append(fidelity(x, larger))
    values = {name: {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} for name, parts in found.items()}
    gain = {k: intervals.mean(values["run"][k] - values["bicubic"][k]) for k in ("psnr", "ssim")}
    figures: dict[str, dict[str, Metric]] = {NAMES[name]: means(one) for name, one in values.items()}
    columns = {f"{name} {figure}": column for name, one in values.items() for figure, column in one.items()}
    outcome = Outcome(
        "super-resolve",
        about(rep, data, factor=factor, seed=seed),
        {**figures, "gain over bicubic interpolation": gain},
        SHOWN,
        (_verdict(gain["psnr"]), *notes),
        pd.DataFrame({"item": item_names(data), **columns}),
    )
    if place.folder is not None:
        rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:DRAWN])
        place.write(outcome, _picture(rep, data, rows, factor))
    return outcome


def _both(rep: Representation, small: Tensor, factor: int) -> dict[str, Tensor]:
    return {"run": within(torch.from_numpy(rep.enlarge(small)), rep.spec), "bicubic": bicubic(small, factor)}


def _verdict(gain: Metric) -> str:
    if gain.low > 0:
        return f"The run is better than bicubic interpolation by {gain.value:.2f} dB."
    if gain.high < 0:
        return f"The run is worse than bicubic interpolation by {-gain.value:.2f} dB."
    return "The run is as good as bicubic interpolation, no better."


def _picture(rep: Representation, data: Dataset, rows: np.ndarray, factor: int) -> Figure:
    x = units_of(rep, data, rows)
    small = shrunk(x, factor)
    both = _both(rep, small, factor)
    strips = [Strip("shrunk", small), Strip("bicubic", both["bicubic"]), Strip("the run", both["run"])]
    title = f"{rep.method_name} on {data.name}: shrunk and enlarged {factor}-fold"
    return sheet([*strips, Strip("original", x)], title, tile=TILE)


def _as_it_is(rep: Representation, source: Any) -> Dataset:
    """At its own resolution, with the run's channels and scale."""
    data = source if isinstance(source, Dataset) else open_data(source)
    require_images(data, "super-resolution")
    check_convertible(data.spec.channels, rep.spec)
    spec = replace(rep.spec, shape=(rep.spec.channels, *data.spec.shape[1:]))
    if not isinstance(source, Dataset):
        return open_data(source, spec=spec, progress=False)
    if data.spec.channels != spec.channels:
        have, need = data.spec.channels, spec.channels
        raise UserError(f"source: {data.name} has {have} channels, the run {need}; give what it was opened from")
    return data


def _enlarged(place: Place, rep: Representation, data: Dataset, factor: int, progress: bool) -> Outcome:
    side = factor * data.spec.resolution
    larger = place.array("enlarged", (len(data), data.spec.channels, side, side))
    for batch in batches(data, "enlarge", progress):
        larger[batch.index.numpy()] = rep.enlarge(unit_images(batch.x, data.spec))
    outcome = Outcome("super-resolve", about(rep, data, factor=factor, as_is=True), arrays={"enlarged": larger})
    if place.folder is not None:
        save_items(place.folder / "enlarged", larger, data, progress)
        some = np.arange(min(DRAWN, len(data)))
        small = unit_images(data.batch(some).x, data.spec)
        strips = [Strip("as it is", small), Strip("bicubic", bicubic(small, factor)), Strip("the run", larger[some])]
        place.write(outcome, sheet(strips, f"{rep.method_name} enlarges {data.name} {factor}-fold", tile=TILE))
    return outcome
