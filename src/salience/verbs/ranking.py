"""The items of a source, ranked by how strange a run finds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from salience.data import Dataset
from salience.data.equal_items import content_hashes
from salience.errors import UserError, naming
from salience.evaluation.detection import auroc
from salience.modalities.image.similarity import squared_error
from salience.reading import Reading
from salience.representation import Representation, open_for, source_or_own
from salience.source_names import with_split
from salience.units import printable
from salience.verbs.inputs import as_run, batches, rebuilt, rows_of_class, rows_with_label, units_of
from salience.verbs.outliers import unlabelled
from salience.verbs.pictures import Strip, sheet, table_figure, unit_columns
from salience.verbs.result import Result, about, finished, item_names, placed
from salience.verbs.scores import SCORES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN, NAMED = 12, 5  # items at each end, in the picture; the strangest, in words
BLOCK = 1024
WARNING = "warning: the run was trained on {}, so it knows them: fit a run without '{}'"


@dataclass(frozen=True)
class Ranking:
    """The options of `anomalies`."""

    score: str | None
    held_out: str | None
    k: int
    labels: str | None
    reading: Reading


@dataclass(frozen=True, eq=False)
class Compared:
    """What is ranked, and with what.

    data: the source;  ordinary: the items of it that are compared with;  ranked: the items to rank
    outlier: [n] bool, the ranked items of the class that is held out;  score: the name of the score
    """

    data: Dataset
    ordinary: Dataset
    ranked: Dataset
    outlier: np.ndarray | None
    score: str


def rank_items(
    run: Representation | Path | str, source: Any, test: Any, out: Path | str | None, asked: Ranking, progress: bool
) -> Result:
    """See `anomalies`, of a run."""
    with placed(out) as place:
        rep = as_run(run, None, "rank anomalies")
        compared = _opened(rep, source, test, asked)
        ranked = compared.ranked
        values = _scored(rep, compared.score, compared.ordinary, ranked, asked.k, progress)
        order = np.argsort(-values, kind="stable")
        result = _result(rep, compared, values, order, asked)
        if compared.outlier is not None:
            result = _judged(result, rep, compared, values, asked.held_out or "", compared_apart=test is not None)
        if place.folder is not None:
            place.write(result, lambda: _picture(rep, ranked, compared.score, values, order))
    return finished(result, out)


def _opened(rep: Representation, source: Any, test: Any, asked: Ranking) -> Compared:
    source = source_or_own(rep, source)
    score = _score_for(rep, asked.score)
    data = open_for(rep, source, asked.labels, asked.reading)
    with naming("test", "source"):
        ranked = data if test is None else open_for(rep, test, asked.labels, asked.reading)
    outlier = None if asked.held_out is None else _of_class(ranked, asked.held_out)
    ordinary = _ordinary(data, asked.held_out)
    if outlier is not None and test is None:
        ordinary = ordinary.subset(rows_with_label(ordinary))
    return Compared(data, ordinary, ranked, outlier, score)


def _result(rep: Representation, compared: Compared, values: np.ndarray, order: np.ndarray, asked: Ranking) -> Result:
    data, ranked, score = compared.data, compared.ranked, compared.score
    used = {"score": score, "means": SCORES[score][1].format(k=asked.k), "held_out": asked.held_out}
    return Result(
        "anomalies",
        about(rep, ranked, ordinary=with_split(data.name, data.split), **used),
        units={"auroc": "AUROC"},
        said=(f"score: {used['means']}", _name_strangest(ranked, values, order), *_opening_notes(data, ranked)),
        table=_table(ranked, values, order),
    )


def _judged(
    result: Result, rep: Representation, compared: Compared, values: np.ndarray, held_out: str, *, compared_apart: bool
) -> Result:
    """The result with how well the score finds the class that is held out."""
    ranked, outlier = compared.ranked, compared.outlier
    assert outlier is not None
    judged = rows_with_label(ranked)
    notes = [_training_had(rep, compared.data, ranked, outlier, held_out)]
    if len(judged) < len(ranked):
        notes.insert(0, unlabelled(len(ranked) - len(judged), compared=compared_apart))
    figures = {"auroc": auroc(values[judged], outlier[judged])}
    return replace(result, figures=figures, said=(*result.said, *notes))


def _score_for(rep: Representation, score: str | None) -> str:
    if score is None:
        able = {"likelihood": "rates", "reconstruction": "decodes"}
        return next((name for name, capability in able.items() if capability in rep.capabilities), "neighbours")
    function = SCORES[score][0]
    if function is not None:
        with naming("score", "run"):
            rep.require(function, f"score by {score}")
    return score


def _opening_notes(*opened: Dataset) -> list[str]:
    """What was done to the items when they were opened, each once."""
    return [f"note: {note}" for note in dict.fromkeys(note for data in opened for note in data.notes)]


def _of_class(ranked: Dataset, held_out: str) -> np.ndarray:
    """[n] bool, the items of the class."""
    ranked.require_labels("the AUROC of a held-out class")
    outlier = np.zeros(len(ranked), bool)
    outlier[rows_of_class(ranked, ranked.class_number(held_out, "held_out"))] = True
    if not 0 < outlier.sum() < len(rows_with_label(ranked)):
        raise UserError(
            f"held_out: {ranked.name} has items of '{held_out}' or of other classes only; both are required"
        )
    return outlier


def _ordinary(data: Dataset, held_out: str | None) -> Dataset:
    """Without the items of the held-out class."""
    if held_out not in data.classes or data.labels is None:
        return data
    return data.without(held_out)


def _scored(rep: Representation, score: str, ordinary: Dataset, ranked: Dataset, k: int, progress: bool) -> np.ndarray:
    """[n] float64, higher is stranger."""
    if score == "neighbours":
        return _distances(rep, ordinary, ranked, k, progress)
    parts = []
    for batch in batches(ranked, score, progress):
        if score == "likelihood":
            parts.append(-rep.log_likelihood_batch(batch).astype(np.float64))
        else:
            x = rep.unit(batch)
            parts.append(squared_error(x, rebuilt(rep, x)).numpy())
    return np.concatenate(parts)


def _distances(rep: Representation, ordinary: Dataset, ranked: Dataset, k: int, progress: bool) -> np.ndarray:
    base, queries = (torch.from_numpy(rep.embed(data, progress=progress)).float() for data in (ordinary, ranked))
    if len(base) <= k:
        raise UserError(f"k: {k} neighbours among {len(base)} ordinary items; take fewer")
    own = _own_rows(ordinary, ranked)
    parts = []
    for first in range(0, len(queries), BLOCK):
        distance = torch.cdist(queries[first : first + BLOCK], base, compute_mode="donot_use_mm_for_euclid_dist")
        here = own[first : first + BLOCK]
        inside = np.flatnonzero(here >= 0)
        distance[inside, here[inside]] = torch.inf
        parts.append(distance.topk(k, dim=1, largest=False).values.double().mean(dim=1))
    return torch.cat(parts).numpy()


def _own_rows(ordinary: Dataset, ranked: Dataset) -> np.ndarray:
    """Where each ranked item stands among the ordinary ones, -1 where it does not.  [n]"""
    if ordinary.fingerprint == ranked.fingerprint:
        return np.arange(len(ranked))
    if ordinary.stored is not ranked.stored:
        return np.full(len(ranked), -1)
    ours, theirs = (np.arange(len(one.stored)) if one.rows is None else one.rows for one in (ranked, ordinary))
    at = np.full(len(ranked.stored), -1)
    at[theirs] = np.arange(len(theirs))
    return at[ours]


def _training_had(rep: Representation, data: Dataset, ranked: Dataset, outlier: np.ndarray, held_out: str) -> str:
    """Whether the run has learnt from items of the class it should find unusual."""
    left_out = rep.config.data.without
    known, without = rep.trained_on["fingerprint"], f"the run was trained without '{held_out}'"
    if any(one.labels is not None and (one.labels < 0).any() for one in (data, ranked)):
        without = f"the run was trained without what is labelled '{held_out}'"
    for one in (data, ranked):
        if known == _ordinary(one, held_out).fingerprint:
            return without
        if known in (one.fingerprint, _ordinary(one, left_out).fingerprint):
            return WARNING.format(f"items of '{held_out}'", held_out)
    seen = _seen(rep, ranked.subset(np.flatnonzero(outlier)))
    if seen is None and left_out == held_out:
        return without
    if seen is None:
        return f"note: whether the run was trained on items of '{held_out}' is not known; it should not be"
    return WARNING.format(f"{seen:,} of these items of '{held_out}'", held_out) if seen else without


def _seen(rep: Representation, outlier: Dataset) -> int | None:
    """How many of these items are equal to ones the run was trained on; None where those are not on this machine."""
    source, split = rep.trained_on["source"], rep.trained_on["split"]
    if source is None or not Path(source.removesuffix(f":{split}")).exists():
        return None
    try:
        trained = rep.open_trained(source)
    except (UserError, OSError):
        return None
    return int(np.isin(content_hashes(outlier), content_hashes(trained)).sum())


def _name_strangest(ranked: Dataset, values: np.ndarray, order: np.ndarray) -> str:
    names = zip(item_names(ranked, order[:NAMED]), values[order[:NAMED]], strict=True)
    return f"strangest: {', '.join(f'{printable(name)} ({value:.3g})' for name, value in names)}"


def _table(ranked: Dataset, values: np.ndarray, order: np.ndarray) -> pd.DataFrame:
    columns: dict[str, Any] = {"rank": np.arange(1, len(order) + 1), "item": item_names(ranked, order)}
    columns["score"] = values[order]
    if ranked.labels is not None and ranked.classes:
        columns["label"] = np.array([*ranked.classes, None], object)[ranked.labels[order]]
    return pd.DataFrame(columns)


def _picture(rep: Representation, ranked: Dataset, score: str, values: np.ndarray, order: np.ndarray) -> Figure:
    title = f"{rep.method_name} on {ranked.name}: most and least anomalous items, by {score}"
    ends = {"most anomalous": order[:DRAWN], "least anomalous": order[::-1][:DRAWN]}
    if not ranked.spec.modality.shows_pictures:
        return _table_picture(rep, ranked, score, values, ends, title)
    strips = []
    for name, rows in ends.items():
        x, captions = units_of(rep, ranked, rows), [f"{values[row]:.3g}" for row in rows]
        if score == "reconstruction":
            strips += [Strip(name, x, apart=True), Strip("rebuilt", rebuilt(rep, x), captions)]
        else:
            strips.append(Strip(name, x, captions, apart=True))
    return sheet(strips, title)


def _table_picture(
    rep: Representation, ranked: Dataset, score: str, values: np.ndarray, ends: Mapping[str, np.ndarray], title: str
) -> Figure:
    few = {name: rows[: DRAWN // 2] for name, rows in ends.items()}
    names = [
        f"{end}: {name}, {values[row]:.3g}"
        for end, rows in few.items()
        for name, row in zip(item_names(ranked, rows), rows, strict=True)
    ]
    x = units_of(rep, ranked, np.concatenate(list(few.values())))
    drawn = [("original", x), ("rebuilt", rebuilt(rep, x))] if score == "reconstruction" else [("", x)]
    return table_figure(drawn, title, names, unit_columns(ranked.spec))
