"""The verbs that rebuild items and make new ones. Each leaves a picture and data in a new folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from salience.cli.options import ABOUT_SOURCE, Count, Json, Level, Neighbours, Read, Run, Seed, Source, Steps
from salience.cli.output import output_kept_for, print_json, print_text
from salience.reading import AS_FOUND

if TYPE_CHECKING:
    from salience.verbs.result import Result

Out = Annotated[Path | None, Parameter(help="A new folder for the results; otherwise runs/VERB-N.")]
Features = Annotated[
    Path | None, Parameter(help="A run whose embedding compares items; otherwise an untrained encoder's.")
]
Other = Annotated[str | None, Parameter(help=ABOUT_SOURCE)]


def reconstruct(
    run: Run, source: Source, /, *, read: Read = AS_FOUND, out: Out = None, seed: Seed = 0, json: Json = False
) -> int:
    """Rebuild every item from its code: originals beside what came back; squared error, PSNR and SSIM."""
    from salience.verbs.reconstruct import reconstruct as verb

    with output_kept_for(json):
        found = verb(run, source, folder_for(out, "reconstruct"), seed=seed, reading=read)
    return show(found, json)


def denoise(
    run: Run,
    source: Source,
    /,
    *,
    noise: Literal["gaussian", "masking", "salt-and-pepper"] | None = None,
    level: Level | None = None,
    noisy: Annotated[bool, Parameter(negative="")] = False,
    read: Read = AS_FOUND,
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Add noise to clean items and take it away, beside PCA and the Wiener filter; or clean what is noisy already.

    Parameters
    ----------
    noise
        Its kind; otherwise what the run was trained against, or gaussian.
    noisy
        SOURCE is noisy already: add nothing, judge nothing, write all results.
    """
    from salience.verbs.denoise import denoise as verb

    with output_kept_for(json):
        found = verb(
            run, source, folder_for(out, "denoise"), noise=noise, level=level, noisy=noisy, seed=seed, reading=read
        )
    return show(found, json)


def sample(
    run: Run,
    source: Other = None,
    /,
    *,
    n: Annotated[Count, Parameter(name=["-n", "--n"])] = 64,
    features: Features = None,
    read: Read = AS_FOUND,
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Draw new items; with SOURCE, tell how near they come to real ones (Fréchet distance, beside simple baselines)."""
    from salience.verbs.sample import sample as verb

    with output_kept_for(json):
        found = verb(run, source, folder_for(out, "sample"), n=n, features=features, seed=seed, reading=read)
    return show(found, json)


def interpolate(
    run: Run,
    source: Source,
    /,
    *,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    end: Annotated[str | None, Parameter(name="--to")] = None,
    steps: Steps = 9,
    features: Features = None,
    read: Read = AS_FOUND,
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Walk from one image's code to another's, straight and along the arc; tell how ordinary the images between are.

    Parameters
    ----------
    start
        An item, by id or row number; otherwise one drawn at random.
    end
        Another, of another class unless named.
    """
    from salience.verbs.interpolate import interpolate as verb

    with output_kept_for(json):
        folder = folder_for(out, "interpolate")
        found = verb(run, source, folder, start=start, end=end, steps=steps, features=features, seed=seed, reading=read)
    return show(found, json)


def arithmetic(
    run: Run,
    source: Source,
    /,
    *,
    add: str,
    subtract: str,
    to: str | None = None,
    item: str | None = None,
    features: Path | None = None,
    read: Read = AS_FOUND,
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Add to images' codes what one class has in common, less what another has, and decode at several strengths.

    Parameters
    ----------
    add
        A class, by the name of its label.
    subtract
        Another class.
    to
        The class of the images that are changed; otherwise the one subtracted.
    item
        Change this one alone, by id or row number.
    features
        A run whose embedding tells the class of what came out; otherwise its neighbours by pixels do.
    """
    from salience.verbs.arithmetic import arithmetic as verb

    with output_kept_for(json):
        folder = folder_for(out, "arithmetic")
        found = verb(
            run, source, folder, add=add, subtract=subtract, to=to, item=item, features=features, seed=seed,
            reading=read,
        )  # fmt: skip
    return show(found, json)


def anomalies(
    run: Annotated[Path, Parameter(help="The folder of a run, or a store of embeddings.")],
    source: Other = None,
    /,
    *,
    test: str | None = None,
    score: Literal["reconstruction", "likelihood", "neighbours"] | None = None,
    held_out: str | None = None,
    k: Annotated[Neighbours, Parameter(name=["-k", "--k"])] = 5,
    labels: str | None = None,
    read: Read = AS_FOUND,
    out: Out = None,
    json: Json = False,
) -> int:
    """Rank items of a source or a store, the strangest first; with a class held out, how well that finds it (AUROC).

    Parameters
    ----------
    test
        The items to rank; otherwise those of SOURCE.
    score
        What makes an item strange; otherwise likelihood if the run rates, else reconstruction if it decodes, else
        neighbours.
    held_out
        A class that counts as strange, which the run should not have been trained on.
    labels
        The column that holds the classes, in a table.
    """
    from salience.verbs.anomalies import anomalies as verb

    with output_kept_for(json):
        folder = folder_for(out, "anomalies")
        found = verb(run, source, folder, test=test, score=score, held_out=held_out, k=k, labels=labels, reading=read)
    return show(found, json)


def super_resolve(
    run: Run,
    source: Source,
    /,
    *,
    as_is: Annotated[bool, Parameter(negative="")] = False,
    read: Read = AS_FOUND,
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Enlarge images that were shrunk, and compare with the originals and with bicubic interpolation.

    Parameters
    ----------
    as_is
        Enlarge the images themselves; judge nothing, write all results.
    """
    from salience.verbs.super_resolve import super_resolve as verb

    with output_kept_for(json):
        found = verb(run, source, folder_for(out, "super-resolve"), as_is=as_is, seed=seed, reading=read)
    return show(found, json)


GENERATION = (reconstruct, denoise, sample, interpolate, arithmetic, anomalies, super_resolve)


def folder_for(out: Path | None, verb: str) -> Path:
    from salience.run import next_free

    return out or next_free(Path("runs"), verb)


def show(found: Result, json: bool) -> int:
    return print_json(found.to_dict()) if json else print_text(found.text())
