"""Which items are anomalies? Ranked by how badly they are rebuilt, how unlikely they are, or how far from others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge

from salience.data import Dataset
from salience.data.equal_items import content_hashes
from salience.errors import UserError, naming
from salience.evaluation.detection import auroc
from salience.modalities.image.similarity import squared_error
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, open_for, source_or_own
from salience.source_names import with_split
from salience.store import Store, open_store
from salience.store_names import names_store
from salience.units import check_whole, printable
from salience.verbs.inputs import as_run, batches, rebuilt, rows_of_class, rows_with_label, units_of
from salience.verbs.outliers import rank_outliers, unlabelled
from salience.verbs.pictures import Strip, sheet, table_figure, unit_columns
from salience.verbs.result import Result, about, finished, item_names, placed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = {
    "likelihood": (
        "log_likelihood",
        "minus the log-likelihood in nats, or its bound, or up to a constant",
    ),
    "reconstruction": ("decode", "the mean squared error of the rebuilt item, on the unit scale"),
    "neighbours": (None, "the mean distance to the nearest {k} embeddings of ordinary items"),
}
DRAWN, NAMED = 12, 5  # items at each end, in the picture; the strangest, in words
BLOCK = 1024
WARNING = "warning: the run was trained on {}, so they are not new to it: fit one without '{}'"


def anomalies(
    run: Representation | Store | Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    test: Any = None,
    score: Literal["reconstruction", "likelihood", "neighbours"] | None = None,
    held_out: str | None = None,
    k: Annotated[int, Ge(1)] = 5,
    labels: str | None = None,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Result:
    """Rank items by anomaly score, the highest first; with a held-out class, report the AUROC.

    run: a Representation or a run folder; or a store, whose items are ranked, and get the column `anomaly`
    source: ordinary items, anything `open_data` takes, or a Dataset; also those that are ranked, unless `test` is
        given. By default what the run was trained on. None for a store.
    test: Source of the items to rank. Default: SOURCE.
    reading: how the source is read (see `Reading`); what it leaves open is as when the run was trained
    out: a new folder for anomalies.json, items.csv and picture.png; None writes nothing
    score: The anomaly score. Default: likelihood if the run has one, otherwise reconstruction if it decodes, otherwise
        neighbours, which is the distance to the K nearest embeddings of SOURCE (in a store the cosine distance).
    held_out: Class that counts as anomalous. The run should not have been trained on it. Its items, and items without a
        label, are not used as neighbours; items without a label are not part of the AUROC.
    k: Number of neighbours, for the score `neighbours`.
    labels: Column of classes, in a table. A store has its own labels.
    -> table: rank, item, score, and label where there are any;  figures: auroc with `held_out`, with a 95 % interval
    Errors: UserError where the method lacks what the score needs, there is no such class, or `out` exists.
    """
    k = check_whole("k", k, 1)
    held_out = None if held_out is None else str(held_out)
    if isinstance(run, str | Path) and names_store(run):
        run = open_store(run)
    if not isinstance(run, Representation | str | Path):
        _refuse_for_store(source=source, test=test, score=None if score == "neighbours" else score, labels=labels)
        return rank_outliers(run, out, held_out, k, progress)
    with placed(out) as place:
        rep = as_run(run, None, "rank anomalies")
        source = source_or_own(rep, source)
        chosen = _score_for(rep, score)
        data = open_for(rep, source, labels, reading)
        with naming("test", "source"):
            ranked = data if test is None else open_for(rep, test, labels, reading)
        outlier = None if held_out is None else _of_class(ranked, held_out)
        ordinary = _ordinary(data, held_out)
        if outlier is not None and test is None:
            ordinary = ordinary.subset(rows_with_label(ordinary))
        values = _scored(rep, chosen, ordinary, ranked, k, progress)
        order = np.argsort(-values, kind="stable")
        used = {"score": chosen, "means": SCORES[chosen][1].format(k=k), "held_out": held_out}
        result = Result(
            "anomalies",
            about(rep, ranked, ordinary=with_split(data.name, data.split), **used),
            units={"auroc": "AUROC"},
            said=(f"score: {used['means']}", _name_strangest(ranked, values, order), *_opening_notes(data, ranked)),
            table=_table(ranked, values, order),
        )
        if outlier is not None:
            judged = rows_with_label(ranked)
            notes = [_training_had(rep, data, ranked, outlier, held_out or "")]
            if len(judged) < len(ranked):
                notes.insert(0, unlabelled(len(ranked) - len(judged), compared=test is not None))
            figures = {"auroc": auroc(values[judged], outlier[judged])}
            result = replace(result, figures=figures, said=(*result.said, *notes))
        if place.folder is not None:
            place.write(result, lambda: _picture(rep, ranked, chosen, values, order))
    return finished(result, out)


def _opening_notes(*opened: Dataset) -> list[str]:
    """What was done to the items when they were opened, each once."""
    return [f"note: {note}" for note in dict.fromkeys(note for data in opened for note in data.notes)]


def _refuse_for_store(**given: Any) -> None:
    """What only a run and a source have a use for."""
    for argument, value in given.items():
        if value is not None:
            raise UserError(
                f"{argument}: a store's own items are ranked, by their embeddings alone; leave it out, or give a run "
                "and a source"
            )


def _score_for(rep: Representation, score: str | None) -> str:
    if score is None:
        able = {"likelihood": "rates", "reconstruction": "decodes"}
        return next((name for name, capability in able.items() if capability in rep.capabilities), "neighbours")
    if score not in SCORES:
        raise UserError(f"score: '{score}' is not one of {', '.join(SCORES)}")
    function = SCORES[score][0]
    if function is not None:
        with naming("score", "run"):
            rep.require(function, f"score by {score}")
    return score


def _of_class(ranked: Dataset, held_out: str) -> np.ndarray:
    """[n] bool, the items of the class."""
    ranked.require_labels("the measure of a held-out class")
    outlier = np.zeros(len(ranked), bool)
    outlier[rows_of_class(ranked, ranked.class_number(held_out, "held_out"))] = True
    if not 0 < outlier.sum() < len(rows_with_label(ranked)):
        raise UserError(f"held_out: {ranked.name} has items of '{held_out}' or of others alone; both are needed")
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
        return f"note: whether the run was trained on items of '{held_out}' is not known; it should not have been"
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
