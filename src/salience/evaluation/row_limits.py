"""What is measured on a part of the rows, so that an evaluation ends in seconds; said where it applies, only there."""

from __future__ import annotations

from collections.abc import Mapping

from salience.evaluation.baselines import FIT_PCA_ON, MOST_VIEWED
from salience.evaluation.codes import MOST_CODES
from salience.evaluation.measure import MOST_CLUSTERED, MOST_RETRIEVED, MOST_SHAPED
from salience.evaluation.row_choice import Rows

MOST_PROJECTED = 1_500  # points of the scatter plot


def note_limits(rows: Rows, *, codes: bool = False) -> list[str]:
    """One note that names every limit these rows reach; none where they reach none.

    codes: whether codes say something of their items
    """
    spec, labelled = rows.test.spec, rows.train is not None
    viewed = spec.modality.to_stored(spec.modality.blank(spec), spec) is not None
    fitting = rows.test if rows.train is None else rows.train
    of_test = {"retrieval": MOST_RETRIEVED * labelled, "geometry": MOST_SHAPED, "alignment": MOST_VIEWED * viewed}
    of_test |= {"codes": MOST_CODES * codes}
    of_fitting = {"k-means": MOST_CLUSTERED * labelled, "the PCA baseline": FIT_PCA_ON}
    said = [
        _reached(
            "measured on", of_test | {"the projection": MOST_PROJECTED}, len(rows.test), "test" if labelled else ""
        ),
        _reached("fitted on", of_fitting, len(fitting), "training" if labelled else ""),
    ]
    said.append(spec.modality.raw_note(spec) or "")
    said = [part for part in said if part]
    return [f"limits: {'; '.join(said)}"] if said else []


def _reached(done: str, most: Mapping[str, int], there: int, which: str) -> str:
    """ "measured on a part of the 5,000 test rows: retrieval 4,000, geometry 2,000"; "" where none is reached."""
    reached = [f"{name} {limit:,}" for name, limit in most.items() if 0 < limit < there]
    return f"{done} a part of the {there:,} {which + ' ' * bool(which)}rows: {', '.join(reached)}" if reached else ""
