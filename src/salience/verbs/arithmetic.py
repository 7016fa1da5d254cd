"""Arithmetic of codes: an item, less what one class has in common, plus what another has. A - B + C, decoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from salience.data import Dataset
from salience.errors import UserError
from salience.evaluation.row_choice import labels_of
from salience.evaluation.split import sample
from salience.measures import intervals
from salience.measures.intervals import Metric
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, source_or_own
from salience.units import check_seed
from salience.verbs.feature_space import FeatureSpace, make_feature_space, pixel_space
from salience.verbs.images_only import require_images
from salience.verbs.inputs import as_run, batches, find_row, rows_of_class, units_of, within
from salience.verbs.pictures import Strip, sheet
from salience.verbs.result import Result, about, finished, item_names, placed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRENGTHS = (0.0, 0.5, 1.0, 1.5)
MOST_CHANGED, DRAWN = 200, 10  # items that are changed, and of them drawn
NEIGHBOURS = 5
MOST_REAL, MOST_VALUES = 5_000, 2**27


def arithmetic(
    run: Representation | Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    add: str,
    subtract: str,
    to: str | None = None,
    item: str | int | None = None,
    features: Representation | Path | str | None = None,
    seed: Annotated[int, Ge(0)] = 0,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Result:
    """Add the difference between two classes to the codes of images, and decode at several strengths.

    The accuracy of the nearest neighbours on real items of these classes is measured for comparison.

    Args:
        run: A Representation or the folder of a run, of a method that decodes.
        source: Labelled images. Any source of `open_data`, or a Dataset. Default: the source that the run was trained
            on.
        out: New folder for arithmetic.json, items.csv, vector.npy and picture.png. Default: nothing is written.
        add: Name of the class to add.
        subtract: Name of the class to subtract.
        to: Class of the images to change. Default: the class that is subtracted.
        item: Change only this item, by id or row number.
        features: A run whose embedding classifies the results. Default: nearest neighbours of their pixels.
        seed: Random seed.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        Figures by strength: the share of results whose nearest real items are of the added and of the subtracted class,
        with 95 % intervals over items. Array vector [d]: the direction that is added.

    Raises:
        UserError: The method does not decode, a class or an item is unknown, or `out` exists.
    """
    seed = check_seed(seed)
    if to is not None and item is not None:
        raise UserError("to, item: both were given; name the class of the items to change, or one item, not both")
    with placed(out) as place:
        rep = as_run(run, "decode", "do arithmetic")
        source = source_or_own(rep, source)
        data = rep.open(source, reading=reading)
        require_images(data, "arithmetic")
        data.require_labels("arithmetic")
        plus, minus = data.class_number(add, "add"), data.class_number(subtract, "subtract")
        if plus == minus:
            raise UserError(f"subtract: '{subtract}' is the class that is added; name another")
        changed = _changed(data, minus if to is None else data.class_number(to, "to"), item, seed)
        vote = Vote(rep, data, pixel_space() if features is None else make_feature_space(features, data), changed)
        vector = attribute_vector(rep, data, plus, minus, progress)
        told = {strength: vote(made) for strength, made in moved(rep, data, changed, vector).items()}
        used = {"add": add, "subtract": subtract, "changed": len(changed), "judge": vote.space.name, "seed": seed}
        result = Result(
            "arithmetic",
            about(rep, data, neighbours=NEIGHBOURS, strengths=list(STRENGTHS), **used),
            _figures(told, plus, minus),
            {"add": f"are '{add}'", "subtract": f"are '{subtract}'"},
            vote.reliability(plus, minus),
            _table(data, changed, told),
            {"vector": vector.numpy()},
        )
        if place.folder is not None:
            place.write(result, lambda: _picture(rep, data, changed[:DRAWN], vector, f"codes + '{add}' - '{subtract}'"))
    return finished(result, out)


def attribute_vector(rep: Representation, data: Dataset, plus: int, minus: int, progress: bool = False) -> Tensor:
    """Mean code of one class less that of another, [d]."""
    means = []
    for label in (plus, minus):
        rows = data.subset(rows_of_class(data, label))
        parts = [rep.embed_unit(rep.unit(batch)) for batch in batches(rows, "mean codes", progress)]
        means.append(torch.from_numpy(np.concatenate(parts)).double().mean(dim=0))
    return (means[0] - means[1]).float()


def moved(rep: Representation, data: Dataset, rows: np.ndarray, vector: Tensor) -> dict[float, Tensor]:
    """Items with the vector added to their codes at each strength.  strength -> [m c h w]"""
    codes = torch.from_numpy(rep.embed_unit(units_of(rep, data, rows)))
    return {s: within(torch.from_numpy(rep.decode(codes + s * vector)), rep.spec) for s in STRENGTHS}


class Vote:
    """Tells the class of items by their nearest real ones, of which none is among those that were changed."""

    def __init__(self, rep: Representation, data: Dataset, space: FeatureSpace, changed: np.ndarray):
        width = int(np.prod(data.spec.shape))
        known = np.setdiff1d(np.flatnonzero(labels_of(data) >= 0), changed)
        rows = sample(known, max(100, min(MOST_REAL, MOST_VALUES // width)))
        self.space, self.labels = space, labels_of(data)[rows]
        self.real = space(units_of(rep, data, rows))
        self.classifier = KNeighborsClassifier(min(NEIGHBOURS, len(rows))).fit(self.real, self.labels)

    def __call__(self, x: Tensor) -> np.ndarray:
        """[m c h w] -> [m], a class each"""
        return self.classifier.predict(self.space(x))

    def reliability(self, plus: int, minus: int) -> tuple[str, ...]:
        """How often the vote is right about real items of the two classes, each left out of it in turn."""
        rows = np.flatnonzero(np.isin(self.labels, (plus, minus)))
        if len(rows) < 2:
            return ()
        near = self.classifier.kneighbors(self.real[rows], min(NEIGHBOURS + 1, len(self.real)), return_distance=False)
        votes = self.labels[near[:, 1:]]
        right = [np.bincount(vote).argmax() == label for vote, label in zip(votes, self.labels[rows], strict=True)]
        return (
            f"the class of a result is that of most of its {NEIGHBOURS} nearest real items by {self.space.name}; of "
            f"real items of the two classes that is right for {np.mean(right):.1%}",
        )


def _changed(data: Dataset, label: int, item: str | int | None, seed: int) -> np.ndarray:
    if item is not None:
        return np.array([find_row(data, item, "item")])
    rows = np.random.default_rng(seed).permutation(rows_of_class(data, label))[:MOST_CHANGED]
    return rows[: max(1, len(rows_of_class(data, label)) // 2)]  # the others are left to be neighbours


def _figures(told: Mapping[float, np.ndarray], plus: int, minus: int) -> dict[str, dict[str, Metric]]:
    return {
        f"strength {strength:g}": {
            "add": intervals.accuracy(found == plus), "subtract": intervals.accuracy(found == minus)
        }
        for strength, found in told.items()
    }  # fmt: skip


def _table(data: Dataset, changed: np.ndarray, told: Mapping[float, np.ndarray]) -> pd.DataFrame:
    classes = np.array(data.classes, object)
    columns = {f"strength {strength:g}": classes[found] for strength, found in told.items()}
    return pd.DataFrame({"item": item_names(data, changed), **columns})


def _picture(rep: Representation, data: Dataset, rows: np.ndarray, vector: Tensor, change: str) -> Figure:
    strips = [Strip("original", units_of(rep, data, rows))]
    for strength, made in moved(rep, data, rows, vector).items():
        strips.append(Strip("rebuilt" if strength == 0 else f"{strength:g} x", made))
    return sheet(strips, f"{rep.method_name} on {data.name}: {change}")
