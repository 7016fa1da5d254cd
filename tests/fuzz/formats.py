"""The formats that are read: small valid files of each, and how the product reads one."""

from __future__ import annotations

import atexit
import functools
import gzip
import io
import shutil
import struct
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import mutators
from tests.fuzz.mutators import Mutator

ROWS = 12


@dataclass(frozen=True)
class Format:
    """file: the mutated one, below a folder that `prepare` fills;  seeds: valid contents of it
    read: reads it as a user would. Raises UserError where it is refused
    """

    file: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path, Path], Any]
    mutate: Mutator = mutators.any_bytes
    prepare: Callable[[Path], Any] = field(default=lambda folder: None)


def warm_up() -> None:
    import pandas  # noqa: F401
    import torch

    import salience.data  # noqa: F401

    torch.set_num_threads(1)


def look_at(source: Any, **options: Any) -> Any:
    """Opens a source and reads all there is of it."""
    from salience.data import open_data

    data = open_data(source, progress=False, **options)
    for batch in data.chunks(5):
        assert len(batch)
    assert len(list(data.ids)) == len(data)
    assert data.labels is None or len(data.labels) == len(data)
    str(data.spec.to_dict())
    return data


def _read_data(folder: Path, file: Path) -> None:
    look_at(file)


def _frame() -> Any:
    import pandas as pd

    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(size=ROWS).round(3),
            "count": np.arange(ROWS),
            "colour": [f"c{i % 3}" for i in range(ROWS)],
            "when": pd.date_range("2024-01-01", periods=ROWS),
            "some": [None if i % 4 == 0 else i for i in range(ROWS)],
            "label": [f"class {i % 2}" for i in range(ROWS)],
        }
    )


def _csv(folder: Path) -> list[bytes]:
    frame = _frame()
    return [frame.to_csv(index=False).encode(), frame.to_csv(index=False, sep=";", decimal=",").encode()]


def _parquet(folder: Path) -> list[bytes]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = pd.DataFrame({"image": [{"bytes": _picture("PNG"), "path": "a.png"}] * 3, "label": [0, 1, 0]})
    return [
        _written(lambda out: _frame().to_parquet(out)),
        _written(lambda out: _frame().to_parquet(out, compression="gzip")),
        _written(lambda out: pq.write_table(pa.Table.from_pandas(_frame()), out, compression="none", version="1.0")),
        _written(lambda out: pictures.to_parquet(out)),
    ]


def _arrow(folder: Path) -> list[bytes]:
    import pandas as pd
    import pyarrow as pa

    table = pa.Table.from_pandas(_frame())
    encoded = table.set_column(2, "colour", table["colour"].dictionary_encode())
    pictures = pa.Table.from_pandas(pd.DataFrame({"image": [{"bytes": _picture("PNG"), "path": None}] * 3}))
    whole = [
        (pa.ipc.new_file, table),
        (pa.ipc.new_stream, table),
        (pa.ipc.new_file, encoded),
        (pa.ipc.new_file, pictures),
    ]
    return [_ipc(writer, content) for writer, content in whole]


def _ipc(new: Any, table: Any) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _feather(folder: Path) -> list[bytes]:
    return [
        _written(lambda out, kind=kind: _frame().to_feather(out, compression=kind))
        for kind in ("lz4", "zstd", "uncompressed")
    ]


def _written(write: Callable[[io.BytesIO], Any]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def _arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(ROWS, 5)), rng.integers(0, 256, (4, 3, 6, 6)).astype(np.uint8)]


def _npy(folder: Path) -> list[bytes]:
    return [_written(lambda out, x=x: np.save(out, x)) for x in _arrays()]


def _npz(folder: Path) -> list[bytes]:
    table, images = _arrays()
    return [
        _written(lambda out: np.savez(out, x=table, y=np.arange(ROWS) % 2)),
        _written(lambda out: np.savez_compressed(out, x_train=images, y_train=np.arange(4), x_test=images)),
    ]


def _idx(folder: Path) -> list[bytes]:
    images = np.arange(3 * 6 * 6, dtype=np.uint8).reshape(3, 6, 6)
    small = images.astype(">f4")
    return [
        struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes(),
        struct.pack(">HBB3I", 0, 13, 3, *images.shape) + small.tobytes(),
    ]


def _idx_gz(folder: Path) -> list[bytes]:
    return [gzip.compress(content, mtime=0) for content in _idx(folder)]


def _labels_npy(folder: Path) -> list[bytes]:
    values: list[np.ndarray] = [np.arange(ROWS) % 3, np.array(list("abc") * 4), np.arange(ROWS) % 2 == 0]
    return [_written(lambda out, y=y: np.save(out, y)) for y in values]


def _read_labels_npy(folder: Path, file: Path) -> None:
    look_at(_arrays()[0], labels=str(file))
    look_at(_arrays()[0], groups=str(file))


def _picture(form: str, mode: str = "RGB", **options: Any) -> bytes:
    from PIL import Image

    x = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    return _written(lambda out: Image.fromarray(x).convert(mode).save(out, form, **options))


def _jpeg(folder: Path) -> list[bytes]:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    return [_picture("JPEG", exif=exif), _picture("JPEG", "L", progressive=True), _picture("JPEG", "CMYK")]


def _png(folder: Path) -> list[bytes]:
    return [_picture("PNG"), _picture("PNG", "P"), _picture("PNG", "RGBA"), _picture("PNG", "I;16" if False else "L")]


def _gif(folder: Path) -> list[bytes]:
    from PIL import Image

    frames = [Image.new("P", (8, 8), i) for i in range(3)]
    animated = _written(lambda out: frames[0].save(out, "GIF", save_all=True, append_images=frames[1:]))
    return [_picture("GIF", "P"), animated]


def _webp(folder: Path) -> list[bytes]:
    return [_picture("WEBP"), _picture("WEBP", "RGBA", lossless=True)]


def _tiff(folder: Path) -> list[bytes]:
    return [_picture("TIFF"), _picture("TIFF", "L", compression="tiff_lzw"), _picture("TIFF", compression="jpeg")]


def _bmp(folder: Path) -> list[bytes]:
    return [_picture("BMP"), _picture("BMP", "P"), _picture("BMP", "1")]


def _sound(form: str, subtype: str, channels: int = 1) -> bytes:
    import soundfile

    x = np.sin(np.arange(1200)[:, None] * np.array([0.2, 0.3])[:channels]).astype(np.float32) / 2
    return _written(lambda out: soundfile.write(out, x, 8000, format=form, subtype=subtype))


def _sounds(form: str, subtype: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [_sound(form, subtype), _sound(form, subtype, 2)]


def _wav(folder: Path) -> list[bytes]:
    kinds = ("PCM_16", "PCM_24", "FLOAT", "ULAW", "MS_ADPCM")
    return [*(_sound("WAV", kind) for kind in kinds), _sound("WAVEX", "PCM_16", 2), _sound("RF64", "PCM_16")]


def _pictures(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / "pictures").mkdir(exist_ok=True)
        (folder / "pictures" / f"{name}.png").write_bytes(_picture("PNG"))


def _label_file(folder: Path) -> list[bytes]:
    return [b"item,label\na.png,cat\nb.png,dog\nc.png,cat\n", b"item,label\r\n'a.png',1\r\nb.png,2\r\n"]


def _read_label_file(folder: Path, file: Path) -> None:
    look_at(folder / "pictures", labels=str(file))


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
        salience.fit("autoencoder", _arrays()[0], out=folder / "one", epochs=1, batch_size=6, progress=False)
    return folder / "one"


def _of_run(name: str, folder: Path) -> list[bytes]:
    return [(fitted(folder) / name).read_bytes()]


def _load(folder: Path, file: Path) -> None:
    import salience

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        salience.load(fitted(folder)).embed(_arrays()[0].astype(np.float64))


def _look_at_run(folder: Path, file: Path) -> None:
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
        _load(folder, file)
    if len(refusals) == len(looks):
        raise refusals[0]


def _unfinished(folder: Path) -> None:
    (fitted(folder) / "model.safetensors").unlink(missing_ok=True)


def _read_checkpoint(folder: Path, file: Path) -> None:
    _load(folder, file)


def _resume(folder: Path, file: Path) -> None:
    from salience.training.fit import resume

    _unfinished(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resume(fitted(folder), _arrays()[0], progress=False)


def _stored(folder: Path) -> Path:
    """A prepared source in folder/cache."""
    np.save(folder / "source.npy", np.arange(60, dtype=np.int64).reshape(12, 5))
    np.save(folder / "y.npy", np.arange(12) % 3)
    look_at(folder / "source.npy", labels=str(folder / "y.npy"), groups=str(folder / "y.npy"), cache=folder / "kept")
    (place,) = (folder / "kept" / "prepared").glob("*")
    return place


def _prepare_cache(name: str, folder: Path) -> None:
    place = _stored(folder)
    (folder / "whole").mkdir()
    shutil.copytree(place, folder / "whole" / place.name)
    (folder / name).write_bytes((place / name).read_bytes())


def _read_cache(name: str, folder: Path, file: Path) -> None:
    """Puts the damaged file into the cache; what comes out must be the source all the same."""
    (whole,) = (folder / "whole").glob("*")
    place = folder / "kept" / "prepared" / whole.name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    (place / name).write_bytes(file.read_bytes())
    source, labels = folder / "source.npy", str(folder / "y.npy")
    data = look_at(source, labels=labels, groups=labels, cache=folder / "kept")
    assert np.array_equal(data.x, np.arange(60).reshape(12, 5)), "a damaged cache gave other items"
    assert np.array_equal(data.labels, np.arange(12) % 3), "a damaged cache gave other labels"
    assert np.array_equal(data.groups, np.arange(12) % 3), "a damaged cache gave other groups"
    assert data.classes == ("0", "1", "2"), "a damaged cache gave other classes"
    assert [column.mean for column in data.spec.columns] == list(np.arange(60).reshape(12, 5).mean(0)), "other means"


def _of_cache(name: str, folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes()]


def _marks(folder: Path) -> list[bytes]:
    from salience.store.marks import Marks

    path = folder / "seed.marks"
    marks = Marks(path)
    marks.mark(["a", "b"], "cat")
    marks.mark(["b"], None)
    return [path.read_bytes()]


def _read_marks(folder: Path, file: Path) -> None:
    from salience.store.marks import Marks

    for beside in folder.glob(f"{file.name}-*"):
        beside.unlink()
    marks = Marks(file)
    assert all(isinstance(text, str) for pair in marks.all().items() for text in pair), "labels are texts"
    marks.last(), marks.mark(["a"], "dog"), marks.undo()


def _cached(name: str, mutate: Mutator) -> Format:
    part = functools.partial
    return Format(name, part(_of_cache, name), part(_read_cache, name), mutate, part(_prepare_cache, name))


def _run_file(name: str, mutate: Mutator, read: Callable[[Path, Path], Any]) -> Format:
    return Format(f"runs/one/{name}", functools.partial(_of_run, name), read, mutate, fitted)


FORMATS: dict[str, Format] = {
    "csv": Format("table.csv", _csv, _read_data, mutators.text),
    "tsv": Format("table.tsv", lambda folder: [_frame().to_csv(sep="\t").encode()], _read_data, mutators.text),
    "parquet": Format("table.parquet", _parquet, _read_data),
    "arrow": Format("table.arrow", _arrow, _read_data),
    "feather": Format("table.feather", _feather, _read_data),
    "npy": Format("array.npy", _npy, _read_data, mutators.npy),
    "npz": Format("arrays.npz", _npz, _read_data, mutators.zipped(mutators.npy)),
    "idx": Format("train-images-idx3-ubyte", _idx, _read_data, mutators.idx),
    "idx.gz": Format("train-images-idx3-ubyte.gz", _idx_gz, _read_data, mutators.gzipped(mutators.idx)),
    "labels.npy": Format("labels.npy", _labels_npy, _read_labels_npy, mutators.npy),
    "jpeg": Format("image.jpg", _jpeg, _read_data),
    "png": Format("image.png", _png, _read_data, mutators.png),
    "gif": Format("image.gif", _gif, _read_data),
    "webp": Format("image.webp", _webp, _read_data),
    "tiff": Format("image.tif", _tiff, _read_data),
    "bmp": Format("image.bmp", _bmp, _read_data),
    "wav": Format("sound.wav", _wav, _read_data),
    "flac": Format("sound.flac", _sounds("FLAC", "PCM_16"), _read_data),
    "ogg": Format("sound.ogg", _sounds("OGG", "VORBIS"), _read_data),
    "mp3": Format("sound.mp3", _sounds("MP3", "MPEG_LAYER_III"), _read_data),
    "labels.csv": Format("labels.csv", _label_file, _read_label_file, mutators.text, _pictures),
    "config.yaml": _run_file("config.yaml", mutators.text, _look_at_run),
    "metrics.csv": _run_file("metrics.csv", mutators.text, _look_at_run),
    "health.json": _run_file("health.json", mutators.text, _look_at_run),
    "cost.json": _run_file("cost.json", mutators.text, _look_at_run),
    "safetensors": _run_file("model.safetensors", mutators.safetensors, _load),
    "last.ckpt": Format(
        "runs/one/checkpoints/last.ckpt",
        functools.partial(_of_run, "checkpoints/last.ckpt"),
        _read_checkpoint,
        mutators.zipped(mutators.any_bytes),
        _unfinished,
    ),
    "resume": Format(
        "runs/one/checkpoints/last.ckpt",
        lambda folder: [(folder / "last.ckpt").read_bytes()],
        _resume,
        mutators.zipped(mutators.any_bytes),
        _unfinished,
    ),
    "cache/manifest.json": _cached("manifest.json", mutators.text),
    "cache/x.bin": _cached("x.bin", mutators.any_bytes),
    "cache/labels.npy": _cached("labels.npy", mutators.npy),
    "cache/groups.npy": _cached("groups.npy", mutators.npy),
    "store marks": Format("store.marks", _marks, _read_marks),
}
