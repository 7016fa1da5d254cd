"""Walk from one item's code to another's: what lies between, and is it as ordinary as real items?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from salience.data import Dataset
from salience.errors import UserError
from salience.evaluation.row_choice import labels_of
from salience.evaluation.split import sample
from salience.measures import intervals
from salience.measures.intervals import Metric
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, source_or_own
from salience.units import check_seed, check_whole, counted
from salience.verbs.feature_space import FeatureSpace, make_feature_space
from salience.verbs.images_only import require_images
from salience.verbs.inputs import as_run, find_row, units_of, within
from salience.verbs.paths import NEIGHBOURS, brought_to, directions, lerp, log_reach, slerp
from salience.verbs.pictures import Strip, sheet
from salience.verbs.result import Result, about, finished, placed

PAIRS, BETWEEN, TOGETHER = 100, 7, 32  # pairs whose paths are judged, items along each, pairs at a time
MOST_REAL, MOST_VALUES = 5_000, 2**27  # real items that neighbours are sought among, and values of them
MOVES = 0.2  # ends nearer than this, of the originals' distance, are much the same
DRAWN = 4  # pairs in the picture, the asked-for first
WAYS = {"linear": lerp, "spherical": slerp}
NAMES = {
    "linear": "linear path",
    "spherical": "spherical path",
    "ends": "rebuilt ends",
    "fade": "cross-fade of the originals",
}


def interpolate(
    run: Representation | Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    start: str | int | None = None,
    end: str | int | None = None,
    steps: Annotated[int, Ge(3)] = 9,
    features: Representation | Path | str | None = None,
    seed: Annotated[int, Ge(0)] = 0,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Result:
    """Interpolate between the codes of two images, linearly and spherically, and rate the images in between.

    The path density rates the items on a path, see verbs.paths. The baselines are the reconstructed ends and a
    cross-fade of pixels. A decoder that maps all codes to one item has ordinary items and no path, so the distance of
    the ends is measured too.

    Args:
        run: A Representation or the folder of a run, of a method that decodes.
        source: Images. Any source of `open_data`, or a Dataset. Default: the source that the run was trained on.
        out: New folder for interpolate.json, linear.npy, spherical.npy and picture.png. Default: nothing is written.
        start: First item, by id or row number. Default: a random item.
        end: Second item, by id or row number. Default: a random item of another class.
        steps: Number of items on the path, including both ends.
        features: A run whose embedding compares items. Default: an untrained encoder, the same for every run.
        seed: Random seed.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        Arrays linear and spherical [steps c h w]. Figures: the path density of both paths and of the baselines over
        random pairs, and the distance of the reconstructed ends as a share of that of the originals; means with 95 %
        intervals.

    Raises:
        UserError: The method does not decode, the data are not images, an item is unknown, or `out` exists.
    """
    steps = check_whole("steps", steps, 3)  # one between the ends
    seed = check_seed(seed)
    with placed(out) as place:
        rep = as_run(run, "decode", "interpolate")
        source = source_or_own(rep, source)
        data = rep.open(source, reading=reading)
        require_images(data, "interpolate")
        if len(data) < 2 * NEIGHBOURS:
            raise UserError(f"source: {data.name} has {counted(len(data), 'item')}, too few for neighbours; give more")
        space = make_feature_space(features, data)
        pair, pairs = _asked_for(data, start, end, seed), random_pairs(data, PAIRS, seed)
        t = torch.linspace(0, 1, steps)
        paths = {name: decoded(rep, units_of(rep, data, pair), way, t)[0] for name, way in WAYS.items()}
        chosen = {"start": data.ids[pair[0]], "end": data.ids[pair[1]], "steps": steps, "seed": seed}
        result = Result("interpolate", about(rep, data, **chosen), arrays={n: x.numpy() for n, x in paths.items()})
        result = _judged(result, rep, data, space, pairs, progress)
        if place.folder is not None:
            shown = np.concatenate([pair, pairs[: DRAWN - 1].ravel()]).reshape(-1, 2)
            place.write(result, lambda: _picture(rep, data, shown, t))
    return finished(result, out)


def decoded(rep: Representation, ends: Tensor, way: Any, t: Tensor) -> Tensor:
    """ends: [2n c h w], first and last of each pair in turn -> [n steps c h w]"""
    codes = torch.from_numpy(rep.embed_unit(ends))
    path = way(codes[::2], codes[1::2], t)
    made = torch.from_numpy(rep.decode(path.flatten(0, 1)))
    return within(made, rep.spec).unflatten(0, path.shape[:2])


def random_pairs(data: Dataset, count: int, seed: int) -> np.ndarray:
    """Rows of different items, of different classes where there are labels.  [count 2]"""
    generator, labels = np.random.default_rng(seed), labels_of(data)
    known = np.flatnonzero(labels >= 0)
    if len(np.unique(labels[known])) < 2:
        return np.stack([generator.choice(len(data), 2, replace=False) for _ in range(count)])
    firsts = generator.choice(known, count)
    return np.stack([firsts, [generator.choice(known[labels[known] != labels[one]]) for one in firsts]], axis=1)


def _asked_for(data: Dataset, start: str | int | None, end: str | int | None, seed: int) -> np.ndarray:
    """[2] rows; where one is not named, it is drawn, of another class than the other if there is one."""
    first = None if start is None else find_row(data, start, "start")
    last = None if end is None else find_row(data, end, "end")
    if first is None and last is None:
        return random_pairs(data, 1, seed + 1)[0]
    if first is not None and last is not None:
        if first == last:
            raise UserError(f"end: '{end}' is the start of the path; name another item")
        return np.array([first, last])
    named = last if first is None else first
    labels, others = labels_of(data), np.setdiff1d(np.arange(len(data)), [named])
    foreign = others[(labels[others] >= 0) & (labels[others] != labels[named])]
    drawn = np.random.default_rng(seed).choice(foreign if len(foreign) else others)
    return np.array([drawn, named] if first is None else [named, drawn])


def _judged(
    result: Result, rep: Representation, data: Dataset, space: FeatureSpace, pairs: np.ndarray, progress: bool
) -> Result:
    values, real = _densities(rep, data, space, pairs, progress)
    apart = intervals.mean(_apart(rep, units_of(rep, data, pairs.ravel())), 0.0)
    used = {"features": space.name, "pairs": len(pairs), "between": BETWEEN, "neighbours": NEIGHBOURS, "real": real}
    said = (
        f"path density: by the angle to the {NEIGHBOURS}th nearest of {real:,} real items in features of {space.name}, "
        "seen from their mean and at equal brightness and contrast; 0 for real items, less for less ordinary ones; "
        f"{BETWEEN} items on each of {len(pairs)} paths",
        "ends apart: how far the rebuilt ends are from each other, as a share of how far the originals are",
        _verdict(values, apart),
    )
    figures = {NAMES[name]: {"density": intervals.mean(found)} for name, found in values.items()}
    figures[NAMES["ends"]]["apart"] = apart
    return replace(
        result,
        about={**result.about, **used},
        figures=figures,
        units={"density": "path density", "apart": "ends apart"},
        said=said,
    )


def _densities(
    rep: Representation, data: Dataset, space: FeatureSpace, pairs: np.ndarray, progress: bool
) -> tuple[dict[str, np.ndarray], int]:
    """name -> [pairs], and how many real items neighbours were sought among."""
    width = int(np.prod(data.spec.shape))
    base = sample(np.arange(len(data)), max(10 * NEIGHBOURS, min(MOST_REAL, MOST_VALUES // width)))
    base = np.union1d(base, pairs)
    see, real = _seen_by(space, units_of(rep, data, base))
    own = np.searchsorted(base, pairs)
    reference = log_reach(real, real, np.arange(len(base))[:, None]).mean()
    values: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    with progress_bar(len(pairs), "density", progress, unit="pairs") as bar:
        for first in range(0, len(pairs), TOGETHER):
            group = slice(first, first + TOGETHER)
            for name, x in _along(rep, units_of(rep, data, pairs[group].ravel())).items():
                reach = log_reach(see(x.flatten(0, 1)), real, np.repeat(own[group], x.shape[1], axis=0))
                values[name].append(reference - reach.reshape(x.shape[:2]).mean(axis=1))
            bar.update(len(pairs[group]))
    return {name: np.concatenate(found) for name, found in values.items()}, len(base)


def _seen_by(space: FeatureSpace, real: Tensor) -> tuple[Callable[[Tensor], np.ndarray], np.ndarray]:
    """How items are compared (see verbs.paths), and the real ones so seen.  real: [n c h w] -> function, [n d]"""
    std, mean = torch.std_mean(real, correction=0)
    features = space(brought_to(real, mean, std))
    centre = features.mean(axis=0)
    return lambda x: directions(space(brought_to(x, mean, std)), centre), directions(features, centre)


def _along(rep: Representation, ends: Tensor) -> dict[str, Tensor]:
    """What is judged, without the original ends.  ends: [2n c h w] as in `decoded` -> name -> [n m c h w]"""
    t = torch.linspace(0, 1, BETWEEN + 2)
    paths = {name: decoded(rep, ends, way, t) for name, way in WAYS.items()}
    fade = lerp(ends[::2].flatten(1), ends[1::2].flatten(1), t).unflatten(2, ends.shape[1:])
    between = {name: path[:, 1:-1] for name, path in paths.items()}
    return {**between, "ends": paths["linear"][:, [0, -1]], "fade": fade[:, 1:-1]}


def _apart(rep: Representation, ends: Tensor) -> np.ndarray:
    """Distance of the rebuilt ends, as a share of the originals'.  [2n c h w], first and last in turn -> [n]"""
    rebuilt = within(torch.from_numpy(rep.decode(rep.embed_unit(ends))), rep.spec)
    between = [(x[::2] - x[1::2]).flatten(1).double().norm(dim=1) for x in (rebuilt, ends)]
    return (between[0] / between[1].clamp(min=1e-12)).numpy()


def _verdict(values: Mapping[str, np.ndarray], apart: Metric) -> str:
    """Are items between as ordinary as what the run makes of real ones? Over the same pairs."""
    if apart.value < MOVES:
        return "The reconstructed ends hardly differ, so the path between them is not rated."
    lost = intervals.mean(values["linear"] - values["ends"])
    if lost.high < 0:
        return f"Between the ends items are less ordinary than at them, by {-lost.value:.3f} on a linear path."
    return "Between the ends items are as ordinary as at them."


def _picture(rep: Representation, data: Dataset, pairs: np.ndarray, t: Tensor) -> Any:
    strips = []
    for pair in pairs:
        ends = units_of(rep, data, pair)
        for name, way in WAYS.items():
            row = torch.cat([ends[:1], decoded(rep, ends, way, t)[0], ends[1:]])
            strips.append(Strip(name, row, apart=name == "linear"))
    share = ["original", *(f"{float(one):.2g}" for one in t), "original"]
    strips[-1] = replace(strips[-1], captions=share)
    return sheet(strips, f"{rep.method_name} on {data.name}: between two items")
