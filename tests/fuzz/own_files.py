"""Small valid files that the product itself writes (runs, caches, marks of a store), and how it reads one."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import user_files


def fitted(folder: Path) -> Path:
    """A run of one epoch, in folder/runs/one."""
    run = folder / "runs" / "one"
    if not run.exists():
        shutil.copytree(_fitted_once(), run)
        shutil.copy(run / "checkpoints" / "last.ckpt", folder / "last.ckpt")
    return run


@functools.cache
def _fitted_once() -> Path:
    import salience

    folder = Path(tempfile.mkdtemp(prefix="salience-fuzz-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        salience.fit("autoencoder", user_files.arrays()[0], out=folder / "one", epochs=1, batch_size=6, progress=False)
    return folder / "one"


def run_seeds(name: str, folder: Path) -> list[bytes]:
    return [(fitted(folder) / name).read_bytes()]


def read_run(folder: Path, file: Path) -> None:
    import salience

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        salience.load(fitted(folder)).embed(user_files.arrays()[0].astype(np.float64))


def look_at_run(folder: Path, file: Path) -> None:
    """As `doctor`, `compare` and the explorer do."""
    from salience.errors import UserError
    from salience.evaluation.compare import read_entry
    from salience.evaluation.gallery import training_curves
    from salience.explorer.runs import Runs
    from salience.training.metrics import MetricsCSV
    from salience.verbs.doctor import doctor

    run = fitted(folder)
    runs = Runs(folder / "runs", None)
    for answer in runs.all():
        runs.curves(answer.name)
    refusals = []
    looks: list[Callable[[], Any]] = [lambda: doctor(run), lambda: read_entry(run), lambda: training_curves(run)]
    if file.name == "metrics.csv":
        looks.append(lambda: MetricsCSV(file, every=1).rewind(1))
    for look in looks:
        try:
            look()
        except UserError as refusal:
            refusals.append(refusal)
    if file.name == "config.yaml":
        read_run(folder, file)
    if len(refusals) == len(looks):
        raise refusals[0]


def make_unfinished(folder: Path) -> None:
    (fitted(folder) / "model.safetensors").unlink(missing_ok=True)


def read_resumed(folder: Path, file: Path) -> None:
    from salience.training.fit import resume

    make_unfinished(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resume(fitted(folder), user_files.arrays()[0], progress=False)


def _stored(folder: Path) -> Path:
    """A prepared source in folder/cache."""
    np.save(folder / "source.npy", np.arange(60, dtype=np.int64).reshape(12, 5))
    np.save(folder / "y.npy", np.arange(12) % 3)
    user_files.look_at(
        folder / "source.npy", labels=str(folder / "y.npy"), groups=str(folder / "y.npy"), cache=folder / "kept"
    )
    (place,) = (folder / "kept" / "prepared").glob("*")
    return place


def make_cache(name: str, folder: Path) -> None:
    place = _stored(folder)
    (folder / "whole").mkdir()
    shutil.copytree(place, folder / "whole" / place.name)
    (folder / name).write_bytes((place / name).read_bytes())


def read_cache(name: str, folder: Path, file: Path) -> None:
    """Puts the damaged file into the cache; what comes out must be the source all the same."""
    (whole,) = (folder / "whole").glob("*")
    place = folder / "kept" / "prepared" / whole.name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    (place / name).write_bytes(file.read_bytes())
    source, labels = folder / "source.npy", str(folder / "y.npy")
    data = user_files.look_at(source, labels=labels, groups=labels, cache=folder / "kept")
    assert np.array_equal(data.x, np.arange(60).reshape(12, 5)), "a damaged cache gave other items"
    assert np.array_equal(data.labels, np.arange(12) % 3), "a damaged cache gave other labels"
    assert np.array_equal(data.groups, np.arange(12) % 3), "a damaged cache gave other groups"
    assert data.classes == ("0", "1", "2"), "a damaged cache gave other classes"
    assert [column.mean for column in data.spec.columns] == list(np.arange(60).reshape(12, 5).mean(0)), "other means"


def cache_seeds(name: str, folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes()]


def marks_seeds(folder: Path) -> list[bytes]:
    from salience.store.marks import Marks

    path = folder / "seed.marks"
    marks = Marks(path)
    marks.mark(["a", "b"], "cat")
    marks.mark(["b"], None)
    return [path.read_bytes()]


def read_marks(folder: Path, file: Path) -> None:
    from salience.store.marks import Marks

    for beside in folder.glob(f"{file.name}-*"):
        beside.unlink()
    marks = Marks(file)
    assert all(isinstance(text, str) for pair in marks.all().items() for text in pair), "labels are texts"
    marks.last(), marks.mark(["a"], "dog"), marks.undo()
