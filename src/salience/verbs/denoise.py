"""Take noise away: embed the noisy item, decode its code. Judged beside what needs no learning by gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge, Gt
from torch import Tensor

from salience.data import Dataset
from salience.errors import UserError
from salience.evaluation.denoisers import Projection, Wiener, fit_projection, fit_wiener
from salience.evaluation.reconstruction import SHOWN, fidelity, means
from salience.evaluation.report import listing
from salience.evaluation.row_choice import labels_of
from salience.evaluation.split import held_out, sample
from salience.measures import intervals
from salience.measures.intervals import Metric
from salience.methods.autoencoders.denoising_autoencoder import LEVELS
from salience.nets import input_width
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, source_or_own
from salience.units import check_real, check_seed, counted
from salience.verbs.inputs import as_run, batches, notes_on, rebuilt, units_of, within
from salience.verbs.pictures import Strip, sheet, table_figure, unit_columns
from salience.verbs.result import Place, Result, about, finished, item_names, placed, save_items
from salience.views.corruption import corrupted
from salience.views.random import Keys

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 10  # items in the picture
MOST_JUDGED = 5_000
MOST_FITTED, MOST_VALUES = 10_000, 2**27  # clean rows for the two baselines, and values of them
CHOOSING = 5  # of the rows, one in so many chooses k and the window
NAMES = {"noisy": "the noisy input", "run": "the run", "pca": "PCA", "wiener": "the Wiener filter"}

Denoiser = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Noise:
    """kind: as of views.corruption;  level: standard deviation, or share of the values"""

    kind: str
    level: float
    seed: int

    def __call__(self, x: Tensor, rows: np.ndarray, data: Dataset) -> Tensor:
        """Unit-scale items [n ...] with noise; an item's own is the same in any company.  rows: [n] of the data"""
        keys = Keys.of(self.seed, 0, torch.from_numpy(rows)).fold("denoise")
        return corrupted(x, keys, self.kind, self.level, data.spec)


def denoise(
    run: Representation | Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    noise: Literal["gaussian", "masking", "salt-and-pepper"] | None = None,
    level: Annotated[float, Gt(0)] | None = None,
    noisy: bool = False,
    seed: Annotated[int, Ge(0)] = 0,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Result:
    """Remove noise from items; the baselines are PCA and the Wiener filter.

    The error is measured with values clipped to the range of an image, for the noisy input too.

    Args:
        run: A Representation or the folder of a run, of a method that decodes.
        source: Any source of `open_data`, or a Dataset. Default: the source that the run was trained on. A fifth of it
            is the test data; the rest fits the two baselines.
        out: New folder for denoise.json, items.csv and picture.png. Default: nothing is written.
        noise: Kind of noise. Default: the kind that the run was trained with, otherwise gaussian.
        level: Standard deviation on a scale of 0 to 1, or share of the values. Default: 0.3, 0.25 and 0.1.
        noisy: The source is noisy already: add no noise, measure no error, and write all results, as denoised.npy on
            the unit scale and as images or CSV.
        seed: Random seed.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        Figures by denoiser, and the gain of the run over the others, over all items with 95 % intervals.

    Raises:
        UserError: The method does not decode, the data do not fit, or `out` exists.
    """
    if noisy and (noise is not None or level is not None):
        raise UserError(f"{'noise' if noise else 'level'}: no noise is added to a noisy source; leave this option out")
    seed, level = check_seed(seed), None if level is None else check_real("level", level)
    with placed(out) as place:
        rep = as_run(run, "decode", "denoise")
        source = source_or_own(rep, source)
        data = rep.open(source, reading=reading)
        if noisy:
            result = _results(place, rep, data, progress)
        else:
            added = _noise_for(rep, noise, level, seed)
            result = _judgement(place, rep, data, added, notes_on(rep, data, source), progress)
    return finished(result, out)


def _noise_for(rep: Representation, kind: str | None, level: float | None, seed: int) -> Noise:
    learnt: Mapping[str, Any] = rep.config.model.options if rep.method_name == "denoising_autoencoder" else {}
    kind = kind or learnt.get("noise", "gaussian")
    if kind not in LEVELS:
        raise UserError(f"noise: '{kind}' is not one of {', '.join(LEVELS)}")
    if level is None:
        level = learnt["level"] if learnt.get("noise") == kind else LEVELS[kind]
    if not 0 < level <= (1 if kind != "gaussian" else 10):
        range_ = "above 0, in standard deviations, at most 10" if kind == "gaussian" else "a share above 0, at most 1"
        raise UserError(f"level: {level:g} is out of range; of {kind} noise it is {range_}")
    return Noise(kind, float(level), seed)


def _judgement(
    place: Place, rep: Representation, data: Dataset, noise: Noise, notes: list[str], progress: bool
) -> Result:
    judged, fitting, choosing = _split(data, noise.seed)
    projection, wiener = _baselines(rep, data, noise, fitting, choosing)
    denoisers: dict[str, Denoiser] = {"noisy": lambda z: z, "run": lambda z: rebuilt(rep, z), "pca": projection}
    used = {"noise": noise.kind, "level": noise.level, "seed": noise.seed, "judged": len(judged)}
    used |= {"fitted": len(fitting), "pca_components": len(projection.directions)}
    if wiener is not None:
        denoisers["wiener"] = wiener
        used |= {"wiener_window": wiener.window, "wiener_power": wiener.power}
    values = _values(rep, data, judged, noise, denoisers, progress)
    gains = {NAMES[other]: _gain(values["run"], values[other]) for other in values if other != "run"}
    columns = {f"{name} {figure}": column for name, found in values.items() for figure, column in found.items()}
    figures = {NAMES[name]: means(found) for name, found in values.items()}
    result = Result(
        "denoise",
        about(rep, data, **used),
        figures | {f"gain over {name}": gain for name, gain in gains.items()},
        SHOWN,
        (*_explain(used), _verdict(gains), *notes),
        pd.DataFrame({"item": item_names(data, judged), **columns}),
    )
    if place.folder is not None:
        place.write(result, lambda: _picture(rep, data, judged[:DRAWN], noise, denoisers))
    return result


def _split(data: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are judged, that components are found in, and that choose among baselines; none in two of them."""
    groups = data.groups if data.groups is not None and len(np.unique(data.groups)) > 1 else None
    unseen = held_out(labels_of(data), groups, seed)
    rest = sample(np.flatnonzero(~unseen), max(CHOOSING, min(MOST_FITTED, MOST_VALUES // input_width(data.spec))))
    judged, choosing = sample(np.flatnonzero(unseen), MOST_JUDGED), rest[::CHOOSING]
    fitting = np.setdiff1d(rest, choosing)
    if len(fitting) < 2 or not len(judged):
        has = counted(len(data), "item")
        raise UserError(f"source: {data.name} has {has}, too few for the evaluation and to fit PCA to; give more")
    return judged, fitting, choosing


def _baselines(
    rep: Representation, data: Dataset, noise: Noise, fitting: np.ndarray, choosing: np.ndarray
) -> tuple[Projection, Wiener | None]:
    known = units_of(rep, data, choosing)
    noisy = noise(known, choosing, data)
    projection = fit_projection(units_of(rep, data, fitting), known, noisy)
    return projection, fit_wiener(known, noisy) if data.spec.modality.shows_pictures else None


def _values(
    rep: Representation,
    data: Dataset,
    judged: np.ndarray,
    noise: Noise,
    denoisers: Mapping[str, Denoiser],
    progress: bool,
) -> dict[str, dict[str, np.ndarray]]:
    """denoiser -> figure -> [judged]"""
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in denoisers}
    for batch in batches(data.subset(judged), "denoise", progress):
        x = rep.unit(batch)
        z = noise(x, judged[batch.index.numpy()], data)
        for name, denoiser in denoisers.items():
            parts[name].append(fidelity(x, within(denoiser(z), data.spec), data.spec.modality))
    return {name: {key: np.concatenate([p[key] for p in found]) for key in found[0]} for name, found in parts.items()}


def _gain(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> dict[str, Metric]:
    """How much better ours are, of the same items, so that its interval is narrow; of the error, how much less."""
    return {figure: intervals.mean((ours[figure] - theirs[figure]) * (-1 if figure == "mse" else 1)) for figure in ours}


def _explain(used: Mapping[str, Any]) -> tuple[str, ...]:
    size = f"{used['wiener_window']}x{used['wiener_window']}" if "wiener_window" in used else ""
    filters = f"; the Wiener filter looks at {size} pixels and is told the noise's power" if size else ""
    kept = counted(used["pca_components"], "component")
    return (
        f"{used['noise']} noise of level {used['level']:g}; {counted(used['judged'], 'item')} judged, held out "
        f"(stratified, seed {used['seed']}); PCA of {used['fitted']:,} clean others keeps {kept}, the best for this "
        f"noise on the rest{filters}",
    )


def _verdict(gains: Mapping[str, Mapping[str, Metric]]) -> str:
    """Did the run take noise away better than the others? By PSNR, of tables by the error."""
    decisive = {name: gain.get("psnr", gain["mse"]) for name, gain in gains.items()}
    better = [name for name, gain in decisive.items() if gain.low > 0]
    worse = [name for name, gain in decisive.items() if gain.high < 0]
    parts = [f"better than {listing(better)}"] if better else []
    parts += [f"worse than {listing(worse)}"] if worse else []
    undecided = [name for name in decisive if name not in better + worse]
    parts += [f"undecided against {listing(undecided)}"] if undecided else []
    return f"The run is {', '.join(parts)}."


def _picture(
    rep: Representation, data: Dataset, rows: np.ndarray, noise: Noise, denoisers: Mapping[str, Denoiser]
) -> Figure:
    x = units_of(rep, data, rows)
    z = noise(x, rows, data)
    drawn = [("clean", x), *((NAMES[name], denoiser(z)) for name, denoiser in denoisers.items())]
    return _drawn(data, rows, drawn, f"{rep.method_name} on {data.name}: {noise.kind} noise of level {noise.level:g}")


def _drawn(data: Dataset, rows: np.ndarray, drawn: list[tuple[str, Tensor]], title: str) -> Figure:
    if data.spec.modality.shows_pictures:
        return sheet([Strip(name, x) for name, x in drawn], title)
    return table_figure(drawn, title, item_names(data, rows), unit_columns(data.spec))


def _results(place: Place, rep: Representation, data: Dataset, progress: bool) -> Result:
    """What is left of a source that is noisy already."""
    x = rep.unit(data.batch(np.arange(min(DRAWN, len(data)))))
    clean = place.array("denoised", (len(data), *x.shape[1:]))
    for batch in batches(data, "denoise", progress):
        clean[batch.index.numpy()] = rebuilt(rep, rep.unit(batch)).numpy()
    result = Result("denoise", about(rep, data, noisy=True), arrays={"denoised": clean})
    if place.folder is not None:
        save_items(place.folder / "denoised", clean, data, progress)
        rows = np.arange(len(x))
        drawn = [(NAMES["noisy"], x), (NAMES["run"], torch.from_numpy(clean[rows]))]
        place.write(result, lambda: _drawn(data, rows, drawn, f"{rep.method_name} denoises {data.name}"))
    return result
