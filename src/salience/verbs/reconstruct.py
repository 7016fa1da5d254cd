"""How well does a run rebuild items from their codes?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge

from salience.data import Dataset
from salience.evaluation.reconstruction import SHOWN, fidelity, means
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, source_or_own
from salience.units import check_seed, counted
from salience.verbs.inputs import as_run, batches, notes_on, rebuilt
from salience.verbs.pictures import Strip, sheet, table_figure, unit_columns
from salience.verbs.result import Place, Result, about, finished, item_names, placed

DRAWN = 12  # items in the picture


def reconstruct(
    run: Representation | Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    seed: Annotated[int, Ge(0)] = 0,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Result:
    """Reconstruct items from their codes; measure the squared error, PSNR and SSIM.

    Values of reconstructed images are clipped to their range.

    Args:
        run: A Representation or the folder of a run, of a method that decodes.
        source: Any source of `open_data`, or a Dataset. Default: the source that the run was trained on.
        out: New folder for reconstruct.json, items.csv and picture.png. Default: nothing is written.
        seed: Random seed.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        Figures mse, psnr, ssim: means over items with 95 % intervals. Table: item and these figures, one row per item.

    Raises:
        UserError: The method does not decode, the data do not fit, or `out` exists.
    """
    seed = check_seed(seed)
    with placed(out) as place:
        rep = as_run(run, "decode", "reconstruct")
        source = source_or_own(rep, source)
        data = rep.open(source, reading=reading)
        found: list[dict[str, np.ndarray]] = []
        for batch in batches(data, "reconstruct", progress):
            x = rep.unit(batch)
            found.append(fidelity(x, rebuilt(rep, x), rep.spec.modality))
        values = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        table = pd.DataFrame({"item": item_names(data), **values})
        used, notes = about(rep, data, dim=rep.dim, seed=seed), tuple(notes_on(rep, data, source))
        result = Result("reconstruct", used, means(values), SHOWN, notes, table)
        _write(place, result, rep, data, seed)
    return finished(result, out)


def _write(place: Place, result: Result, rep: Representation, data: Dataset, seed: int) -> None:
    if place.folder is None:
        return
    assert result.table is not None
    some = np.sort(np.random.default_rng(seed).permutation(len(data))[:DRAWN])
    worst = np.argsort(-result.table["mse"].to_numpy(), kind="stable")[:DRAWN]
    title = f"{rep.method_name} rebuilds {data.name} from {counted(rep.dim, 'value')} an item"
    x, far = (rep.unit(data.batch(rows)) for rows in (some, worst))
    if data.spec.modality.shows_pictures:
        strips = [Strip("original", x), Strip("rebuilt", rebuilt(rep, x))]
        strips += [Strip("worst: original", far, apart=True), Strip("rebuilt", rebuilt(rep, far))]
        place.write(result, lambda: sheet(strips, title))
    else:
        drawn = [("original", x), ("rebuilt", rebuilt(rep, x))]
        place.write(result, lambda: table_figure(drawn, title, item_names(data, some), unit_columns(data.spec)))
