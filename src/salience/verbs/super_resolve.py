"""Larger images of small ones, and how much nearer to the truth they are than interpolation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from salience.data import Dataset
from salience.data.originals import Originals, open_originals, originals_in
from salience.errors import UserError
from salience.evaluation.reconstruction import SHOWN, fidelity, means
from salience.measures import intervals
from salience.measures.intervals import Metric
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.unit import unit_images
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, enlarged_at_once, source_or_own
from salience.source_names import with_split
from salience.units import check_seed, counted
from salience.verbs.images_only import require_images
from salience.verbs.inputs import as_run, batches, notes_on, units_of, within
from salience.verbs.pictures import Strip, save_image, sheet
from salience.verbs.result import Place, Result, about, finished, item_names, placed, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 8
TILE = 128  # details must be seen
MOST_VALUES = 2**28  # of enlarged images in one array beside their files
FILES = "enlarged"
NAMES = {"run": "the run", "bicubic": "bicubic interpolation"}


def super_resolve(
    run: Representation | Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    as_is: bool = False,
    seed: Annotated[int, Ge(0)] = 0,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Result:
    """Enlarge images; compare with the originals and with bicubic interpolation.

    An image is shrunk by averaging squares, as in the training.

    Args:
        run: A Representation or the folder of a run, of a method that enlarges.
        source: Images. Any source of `open_data`, or a Dataset. Default: the source that the run was trained on.
        out: New folder for super-resolve.json, items.csv and picture.png. Default: nothing is written.
        as_is: Enlarge the images themselves, measure no error, and write all results as PNG files; also as enlarged.npy
            if all have one size and there are not too many.
        seed: Random seed.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        Figures mse, psnr, ssim of the run and of bicubic interpolation, and the gain of the run; means over items with
        95 % intervals.

    Raises:
        UserError: The method does not enlarge, the data do not fit, or `out` exists.
    """
    seed = check_seed(seed)
    with placed(out) as place:
        rep = as_run(run, "enlarge", "super-resolve")
        source = source_or_own(rep, source)
        factor: int = rep.method.factor  # type: ignore[assignment]
        if as_is:
            result = _enlarged(place, rep, _as_they_are(rep, source, reading, progress), factor, progress)
        else:
            data = rep.open(source, reading=reading)
            require_images(data, "super-resolution")
            result = _compared(place, rep, data, factor, notes_on(rep, data, source), seed, progress)
    return finished(result, out)


def shrunk(x: Tensor, factor: int) -> Tensor:
    """Each pixel the mean of a square.  [n c h w] -> [n c h/factor w/factor]"""
    return F.avg_pool2d(x, factor)


def bicubic(x: Tensor, factor: int) -> Tensor:
    """[n c h w] -> [n c factor*h factor*w]"""
    return F.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False).clamp(0, 1)


def _compared(
    place: Place, rep: Representation, data: Dataset, factor: int, notes: list[str], seed: int, progress: bool
) -> Result:
    found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in NAMES}
    for batch in batches(data, "super-resolve", progress):
        x = rep.unit(batch)
        for name, larger in _both(rep, shrunk(x, factor), factor).items():
            found[name].append(fidelity(x, larger, rep.spec.modality))
    values = {name: {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} for name, parts in found.items()}
    gain = {k: intervals.mean(values["run"][k] - values["bicubic"][k]) for k in ("psnr", "ssim")}
    figures: dict[str, dict[str, Metric]] = {NAMES[name]: means(one) for name, one in values.items()}
    columns = {f"{name} {figure}": column for name, one in values.items() for figure, column in one.items()}
    result = Result(
        "super-resolve",
        about(rep, data, factor=factor, seed=seed),
        {**figures, "gain over bicubic interpolation": gain},
        SHOWN,
        (_verdict(gain["psnr"]), *notes),
        pd.DataFrame({"item": item_names(data), **columns}),
    )
    if place.folder is not None:
        rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:DRAWN])
        place.write(result, lambda: _picture(rep, data, rows, factor))
    return result


def _both(rep: Representation, small: Tensor, factor: int) -> dict[str, Tensor]:
    return {"run": within(torch.from_numpy(rep.enlarge(small)), rep.spec), "bicubic": bicubic(small, factor)}


def _verdict(gain: Metric) -> str:
    if gain.low > 0:
        return f"The run is better than bicubic interpolation by {gain.value:.2f} dB."
    if gain.high < 0:
        return f"The run is worse than bicubic interpolation by {-gain.value:.2f} dB."
    if math.isinf(gain.low):
        return "One image is too few to compare the run with bicubic interpolation; give more."
    return "The run does not differ significantly from bicubic interpolation."


def _picture(rep: Representation, data: Dataset, rows: np.ndarray, factor: int) -> Figure:
    x = units_of(rep, data, rows)
    small = shrunk(x, factor)
    both = _both(rep, small, factor)
    strips = [Strip("shrunk", small), Strip("bicubic", both["bicubic"]), Strip("the run", both["run"])]
    title = f"{rep.method_name} on {data.name}: shrunk and enlarged {factor}-fold"
    return sheet([*strips, Strip("original", x)], title, tile=TILE)


def _as_they_are(rep: Representation, source: Any, reading: Reading, progress: bool) -> Originals:
    """At their own sizes, with the run's channels and scale."""
    if not isinstance(source, Dataset):
        return open_originals(source, cast(ImageSpec, rep.spec), reading=reading.over(rep.reading), progress=progress)
    require_images(source, "super-resolution")
    have, need = source.spec.shape[0], rep.spec.shape[0]
    if have != need:
        raise UserError(f"source: {source.name} has {have} channels, the run {need}; give what it was opened from")
    return originals_in(source)


def _enlarged(place: Place, rep: Representation, data: Originals, factor: int, progress: bool) -> Result:
    """Every image by itself; files of all, and one array where they have one size."""
    height, width = (factor * data.sizes.max(axis=0)).tolist()
    shape = (len(data), data.spec.channels, height, width)
    if place.folder is None and not data.alike:
        raise UserError(f"out: images of {counted_sizes(data)} do not fit in one array; give a folder for their files")
    kept = data.alike and (place.folder is None or math.prod(shape) <= MOST_VALUES)
    larger = place.array("enlarged", shape) if kept else None
    if place.folder is not None:
        (place.folder / FILES).mkdir()
    shown = Shown(factor, min(TILE // factor, int(data.sizes[:DRAWN].max())))
    for row, (x, made) in enumerate(_one_by_one(rep, data, progress)):
        if larger is not None:
            larger[row] = made
        if place.folder is not None:
            save_image(made, place.folder / FILES / f"{row:06d}.png")
        if row < DRAWN:
            shown.add(x, torch.from_numpy(made))
    used = about(rep, on=with_split(data.name, data.split), items=len(data), factor=factor, as_is=True)
    notes = tuple(f"note: {note}" for note in data.notes)
    result = Result("super-resolve", used, arrays={} if larger is None else {"enlarged": larger}, said=notes)
    if place.folder is not None:
        if larger is None:
            why = "they are too large for it" if data.alike else f"they are of {counted_sizes(data)}"
            told = f"note: no enlarged.npy of all images, {why}; each is a file in {FILES}"
            result = replace(result, said=(*notes, told))
        files = [f"{FILES}/{row:06d}.png" for row in range(len(data))]
        write_table(place.folder / f"{FILES}.csv", pd.DataFrame({"item": item_names(data), "file": files}))
        place.write(
            result, lambda: sheet(shown.strips(), f"{rep.method_name} enlarges {data.name} {factor}-fold", tile=TILE)
        )
    return result


def _one_by_one(rep: Representation, data: Originals, progress: bool) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Each image and what is made of it, [c h w] on the unit scale; those of one size in a row go together."""
    with progress_bar(len(data), "enlarge", progress) as bar:
        for (_, height, width), images in itertools.groupby(data.read(), np.shape):
            while some := list(itertools.islice(images, enlarged_at_once(height * width))):
                x = unit_images(torch.from_numpy(np.stack(some)), data.spec)
                yield from zip(x, rep.enlarge(x), strict=True)
                bar.update(len(x))


def counted_sizes(data: Originals) -> str:
    return counted(len(np.unique(data.sizes, axis=0)), "size")


class Shown:
    """The middle of a few images before and after, each pixel of one as large as that of another.

    side: pixels that are shown of an image before;  what is not there is white
    """

    def __init__(self, factor: int, side: int):
        self.factor, self.side = factor, side
        self.rows: dict[str, list[Tensor]] = {"as it is": [], "bicubic": [], "the run": []}

    def add(self, x: Tensor, made: Tensor) -> None:
        """x: [c h w];  made: [c factor*h factor*w]"""
        left = [max(0, (size - self.side) // 2) for size in x.shape[1:]]
        around = [max(0, at - 2) for at in left]  # as far as interpolation sees
        part = x[:, around[0] : left[0] + self.side + 2, around[1] : left[1] + self.side + 2]
        plain = bicubic(part[None], self.factor)[0]
        offset = [self.factor * (at - before) for at, before in zip(left, around, strict=True)]
        self.rows["as it is"].append(framed(x, left, self.side))
        self.rows["bicubic"].append(framed(plain, offset, self.factor * self.side))
        self.rows["the run"].append(framed(made, [self.factor * at for at in left], self.factor * self.side))

    def strips(self) -> list[Strip]:
        return [Strip(name, torch.stack(images)) for name, images in self.rows.items()]


def framed(x: Tensor, start: Sequence[int], side: int) -> Tensor:
    """A square of an image from `start` on, white where there is none.  [c h w] -> [c side side]"""
    part = x[:, start[0] : start[0] + side, start[1] : start[1] + side]
    height, width = part.shape[1:]
    return F.pad(part, (0, side - width, 0, side - height), value=1.0)
