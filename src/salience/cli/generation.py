"""The verbs that rebuild items and make new ones. Each leaves a picture and data in a new folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from salience.cli.options import Json, Run, Seed, Source
from salience.cli.output import output_kept_for, print_json, print_text

if TYPE_CHECKING:
    from salience.apps.outcome import Outcome


def reconstruct(run: Run, source: Source, /, *, out: Path | None = None, seed: Seed = 0, json: Json = False) -> int:
    """Rebuild every item from its code: originals beside what came back, squared error, PSNR and SSIM.

    Parameters
    ----------
    out
        A new folder for the results; otherwise runs/reconstruct-N.
    """
    from salience.apps.reconstruct import reconstruct as rebuild

    with output_kept_for(json):
        found = rebuild(run, source, _folder(out, "reconstruct"), seed=seed)
    return _show(found, json)


GENERATION = (reconstruct,)


def _folder(out: Path | None, verb: str) -> Path:
    from salience.run import next_free

    return out or next_free(Path("runs"), verb)


def _show(found: Outcome, json: bool) -> int:
    return print_json(found.to_dict()) if json else print_text(found.text())
