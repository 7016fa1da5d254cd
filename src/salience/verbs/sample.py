"""Draw new items from a run, and measure how near they come to real ones, beside what anybody could draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from salience.data import Dataset
from salience.errors import UserError
from salience.evaluation.frechet import frechet_distance
from salience.measures import intervals
from salience.measures.intervals import Metric
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.representation import FIXED, Representation
from salience.units import check_seed, counted
from salience.verbs.feature_space import FeatureSpace, make_feature_space
from salience.verbs.inputs import as_run, units_of, within
from salience.verbs.pictures import Strip, grid_strips, sheet, table_figure, unit_columns
from salience.verbs.result import Result, about, as_frame, finished, placed, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS = 5  # draws of samples and of halves; the interval is over them
LEAST, MOST = 10, 2_000  # items in each set that is compared
MOST_VALUES = 2**26
MOST_DRAWN, BESIDE, MOST_ROWS = 144, 12, 24  # samples in the picture; beside their nearest items; rows of a table
SETS = {
    "samples": "the samples",
    "floor": "real items (the floor)",
    "gaussian": "a Gaussian fitted to the values",
    "shuffled": "values shuffled among items",
}


def sample(
    run: Representation | Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    n: Annotated[int, Ge(1)] = 64,
    features: Representation | Path | str | None = None,
    seed: Annotated[int, Ge(0)] = 0,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Result:
    """Generate new items; with SOURCE, compare them with real ones (Fréchet distance, with baselines).

    Args:
        run: A Representation or the folder of a run, of a method that samples.
        source: Real items: any source of `open_data`, or a Dataset.
        out: New folder for sample.json, samples.npy (for a table also samples.csv) and picture.png. Default: nothing is
            written.
        n: Number of samples to write.
        features: A run whose embedding compares items. Default: an untrained encoder, the same for every run.
        seed: Random seed.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        Array samples [n ...] on the unit scale. Figures: Fréchet distances, to one half of the real items, of equally
        many samples, of items of the other half (the floor), of draws of a Gaussian fitted to that half, and of items
        with shuffled values; means over draws of samples and halves with 95 % intervals.

    Raises:
        UserError: The method does not sample, the data do not fit, or `out` exists.
    """
    seed = check_seed(seed)
    with placed(out) as place:
        rep = as_run(run, "sample", "sample")
        data = None if source is None else rep.open(source, reading=reading)
        if data is None and features is not None:
            raise UserError(
                "features: this option is for the comparison with real items; give a source, or leave it out"
            )
        made = within(torch.from_numpy(rep.sample(n, seed)), rep.spec)
        result = Result("sample", about(rep, data, n=n, seed=seed), arrays={"samples": made.numpy()})
        if data is not None:
            result = _compared(result, rep, data, make_feature_space(features, data), seed, progress)
        if place.folder is not None:
            if not rep.spec.modality.shows_pictures:
                write_table(place.folder / "samples.csv", as_frame(made.numpy(), rep.spec))
            place.write(result, lambda: _picture(rep, data, made))
    return finished(result, out)


def _compared(
    result: Result, rep: Representation, data: Dataset, space: FeatureSpace, seed: int, progress: bool
) -> Result:
    width = int(np.prod(result.arrays["samples"].shape[1:]))
    size = min(MOST, len(data) // 2, max(LEAST, MOST_VALUES // width))
    if size < LEAST:
        has = counted(len(data), "item")
        raise UserError(f"source: {data.name} has {has}, too few to compare with; give {2 * LEAST} or more")
    distances: dict[str, list[float]] = {name: [] for name in SETS}
    with progress_bar(ROUNDS * len(SETS), "compare", progress, unit="sets") as bar:
        for number in range(ROUNDS):
            generator = np.random.default_rng([seed, number])
            rows = generator.permutation(len(data))[: 2 * size]
            reference = space(units_of(rep, data, rows[:size]))
            made = torch.from_numpy(rep.sample(size, seed + 1 + number))
            for name, x in _sets(made, units_of(rep, data, rows[size:]), generator).items():
                distances[name].append(frechet_distance(space(within(x, rep.spec)), reference))
                bar.update(1)
    found = {name: intervals.mean(np.array(values), 0.0) for name, values in distances.items()}
    figures = {SETS[name]: {"frechet": metric} for name, metric in found.items()}
    return replace(
        result,
        about={**result.about, "features": space.name, "compared": size, "rounds": ROUNDS},
        figures=figures,
        units={"frechet": "Fréchet distance"},
        said=(
            f"to {size:,} real items, in features of {space.name}; means over {ROUNDS} draws of samples and halves",
            _verdict(found),
        ),
    )


def _sets(made: Tensor, real: Tensor, generator: np.random.Generator) -> dict[str, Tensor]:
    """What is compared, [size ...] each.  real: the other half"""
    return {
        "samples": made,
        "floor": real,
        "gaussian": gaussian_like(real, generator),
        "shuffled": shuffled(real, generator),
    }


def gaussian_like(x: Tensor, generator: np.random.Generator) -> Tensor:
    """As many draws of the Gaussian with the items' mean and covariance, which is never formed.  [n ...] -> the same"""
    rows = x.flatten(1).double()
    mean = rows.mean(dim=0)
    weights = torch.from_numpy(generator.standard_normal((len(x), len(x)))) / np.sqrt(len(x) - 1)
    return (mean + weights @ (rows - mean)).to(x.dtype).view(x.shape)


def shuffled(x: Tensor, generator: np.random.Generator) -> Tensor:
    """Each place keeps its values, but an item's come from items of all kinds; colours of a pixel stay together.

    [n ...] -> the same
    """
    rows = x.flatten(2) if x.ndim == 4 else x[:, None]  # [n c places]
    order = generator.permuted(np.tile(np.arange(len(x))[:, None], rows.shape[2]), axis=0)  # [n places]
    return rows.gather(0, torch.from_numpy(order)[:, None].expand(rows.shape)).view(x.shape)


def _verdict(found: Mapping[str, Metric]) -> str:
    ours = found["samples"]
    below = [SETS[name] for name in ("gaussian", "shuffled") if ours.high < found[name].low]
    above = [SETS[name] for name in ("gaussian", "shuffled") if ours.low > found[name].high]
    if len(below) == 2:
        return "In these features the samples are nearer to real items than what a Gaussian or shuffling gives."
    if above:
        return f"In these features the samples are farther from real items than {' and than '.join(above)}."
    return "In these features the samples are not clearly nearer to real items than what a Gaussian or shuffling gives."


def _picture(rep: Representation, data: Dataset | None, made: Tensor) -> Figure:
    most = MOST_DRAWN if rep.spec.modality.shows_pictures else MOST_ROWS
    first = "" if len(made) <= most else f"the first {most} of "
    title = f"{first}{counted(len(made), 'sample')} of {rep.method_name}"
    if not rep.spec.modality.shows_pictures:
        return _table_picture(rep, data, made, title)
    strips = grid_strips(made[:MOST_DRAWN], 1 if data is None else BESIDE)
    if data is not None:
        some = made[:BESIDE]
        twins = units_of(rep, data, nearest(rep, data, some))
        strips += [Strip("samples", some, apart=True), Strip("nearest real items", twins)]
    return sheet(strips, title)


def _table_picture(rep: Representation, data: Dataset | None, made: Tensor, title: str) -> Figure:
    """Rows below each other; real ones in a second block."""
    blocks, names = [made[:MOST_ROWS]], ["samples"]
    if data is not None:
        blocks.append(units_of(rep, data, np.random.default_rng(0).permutation(len(data))[: len(blocks[0])]))
        names.append("real rows")
    few = min(map(len, blocks))
    drawn = [("", torch.stack([block[row] for block in blocks])) for row in range(few)]
    return table_figure(drawn, title, names, unit_columns(rep.spec))


def nearest(rep: Representation, data: Dataset, x: Tensor) -> np.ndarray:
    """The row of the item nearest to each of these, value by value.  [m ...] -> [m]"""
    least, found = torch.full((len(x),), torch.inf), torch.zeros(len(x), dtype=torch.int64)
    for batch in data.chunks(FIXED):
        distance, at = torch.cdist(x.flatten(1), rep.unit(batch).flatten(1)).min(dim=1)
        nearer = distance < least
        least, found = torch.where(nearer, distance, least), torch.where(nearer, batch.index[at], found)
    return found.numpy()
