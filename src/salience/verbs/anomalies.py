"""Which items are anomalies? Ranked by how badly they are rebuilt, how unlikely they are, or how far from others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from annotated_types import Ge

from salience import catalogue
from salience.errors import UserError, naming
from salience.reading import AS_FOUND, Reading
from salience.run import Run
from salience.store import open_store
from salience.store_names import names_store
from salience.units import check_whole
from salience.verbs.scores import SCORES

if TYPE_CHECKING:
    from salience.representation import Representation
    from salience.store import Store
    from salience.verbs.result import Result


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

    Args:
        run: A Representation or the folder of a run; or a store, whose items are ranked and get the column `anomaly`.
        source: Ordinary items, which are also ranked unless `test` is given. Any source of `open_data`, or a Dataset.
            Default: the source that the run was trained on. None for a store.
        out: New folder for anomalies.json, items.csv and picture.png. Default: nothing is written.
        test: Source of the items to rank. Default: SOURCE.
        score: The anomaly score. Default: likelihood if the run has one, otherwise reconstruction if it decodes,
            otherwise neighbours, which is the distance to the K nearest embeddings of SOURCE (in a store the cosine
            distance).
        held_out: Class that counts as anomalous. The run should not have been trained on it. Its items, and items
            without a label, are not used as neighbours; items without a label are not part of the AUROC.
        k: Number of neighbours, for the score `neighbours`.
        labels: Column of classes, in a table. A store has its own labels.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        Table: rank, item, score, and label if there are labels. Figure with `held_out`: auroc, with a 95 % interval.

    Raises:
        UserError: The method does not support the score, the class is unknown, or `out` exists.
    """
    k = check_whole("k", k, 1)
    held_out = None if held_out is None else str(held_out)
    store = _store_of(run)
    if store is not None:
        _refuse_for_store(source=source, test=test, score=None if score == "neighbours" else score, labels=labels)
        from salience.verbs.outliers import rank_outliers

        return rank_outliers(store, out, held_out, k, progress)
    fitted = cast("Representation | Path | str", run)
    _refuse_score(fitted, score)
    from salience.verbs.ranking import Ranking, rank_items

    asked = Ranking(score, held_out, k, labels, reading)
    return rank_items(fitted, source, test, out, asked, progress)


def _store_of(run: Representation | Store | Path | str) -> Store | None:
    """The store, opened where it is a path; None where it is a run."""
    if isinstance(run, str | Path):
        return open_store(run) if names_store(run) else None
    from salience.representation import Representation

    return None if isinstance(run, Representation) else run


def _refuse_for_store(**given: Any) -> None:
    """What only a run and a source have a use for."""
    for argument, value in given.items():
        if value is not None:
            raise UserError(
                f"{argument}: a store's own items are ranked, by their embeddings alone; leave it out, or give a run "
                "and a source"
            )


def _refuse_score(run: Representation | Path | str, score: str | None) -> None:
    """Raise UserError where there is no such score, or the method of the run lacks what it needs."""
    if score is None:
        return
    if score not in SCORES:
        raise UserError(f"score: '{score}' is not one of {', '.join(SCORES)}")
    function = SCORES[score][0]
    if function is None:
        return
    with naming("score", "run"):
        if not isinstance(run, str | Path):
            run.require(function, f"score by {score}")
        elif function not in (model := Run(run).config.model).withheld:
            catalogue.refuse_unable(model.method, function, f"score by {score}")
