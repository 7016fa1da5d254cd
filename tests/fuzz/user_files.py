"""Small valid files that a user may give, of every format, and how the product reads one."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 12


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


def read_data(folder: Path, file: Path) -> None:
    look_at(file)


def frame() -> Any:
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


def csv_seeds(folder: Path) -> list[bytes]:
    table = frame()
    return [table.to_csv(index=False).encode(), table.to_csv(index=False, sep=";", decimal=",").encode()]


def parquet_seeds(folder: Path) -> list[bytes]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = pd.DataFrame({"image": [{"bytes": _picture("PNG"), "path": "a.png"}] * 3, "label": [0, 1, 0]})
    return [
        _written(lambda out: frame().to_parquet(out)),
        _written(lambda out: frame().to_parquet(out, compression="gzip")),
        _written(lambda out: pq.write_table(pa.Table.from_pandas(frame()), out, compression="none", version="1.0")),
        _written(lambda out: pictures.to_parquet(out)),
    ]


def arrow_seeds(folder: Path) -> list[bytes]:
    import pandas as pd
    import pyarrow as pa

    table = pa.Table.from_pandas(frame())
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


def feather_seeds(folder: Path) -> list[bytes]:
    return [
        _written(lambda out, kind=kind: frame().to_feather(out, compression=kind))
        for kind in ("lz4", "zstd", "uncompressed")
    ]


def _written(write: Callable[[io.BytesIO], Any]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(ROWS, 5)), rng.integers(0, 256, (4, 3, 6, 6)).astype(np.uint8)]


def npy_seeds(folder: Path) -> list[bytes]:
    return [_written(lambda out, x=x: np.save(out, x)) for x in arrays()]


def npz_seeds(folder: Path) -> list[bytes]:
    table, images = arrays()
    return [
        _written(lambda out: np.savez(out, x=table, y=np.arange(ROWS) % 2)),
        _written(lambda out: np.savez_compressed(out, x_train=images, y_train=np.arange(4), x_test=images)),
    ]


def idx_seeds(folder: Path) -> list[bytes]:
    images = np.arange(3 * 6 * 6, dtype=np.uint8).reshape(3, 6, 6)
    small = images.astype(">f4")
    return [
        struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes(),
        struct.pack(">HBB3I", 0, 13, 3, *images.shape) + small.tobytes(),
    ]


def idx_gz_seeds(folder: Path) -> list[bytes]:
    return [gzip.compress(content, mtime=0) for content in idx_seeds(folder)]


def labels_npy_seeds(folder: Path) -> list[bytes]:
    values: list[np.ndarray] = [np.arange(ROWS) % 3, np.array(list("abc") * 4), np.arange(ROWS) % 2 == 0]
    return [_written(lambda out, y=y: np.save(out, y)) for y in values]


def read_labels_npy(folder: Path, file: Path) -> None:
    look_at(arrays()[0], labels=str(file))
    look_at(arrays()[0], groups=str(file))


def _picture(form: str, mode: str = "RGB", **options: Any) -> bytes:
    from PIL import Image

    x = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    return _written(lambda out: Image.fromarray(x).convert(mode).save(out, form, **options))


def jpeg_seeds(folder: Path) -> list[bytes]:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    return [_picture("JPEG", exif=exif), _picture("JPEG", "L", progressive=True), _picture("JPEG", "CMYK")]


def png_seeds(folder: Path) -> list[bytes]:
    return [_picture("PNG"), _picture("PNG", "P"), _picture("PNG", "RGBA"), _picture("PNG", "L")]


def gif_seeds(folder: Path) -> list[bytes]:
    from PIL import Image

    frames = [Image.new("P", (8, 8), i) for i in range(3)]
    animated = _written(lambda out: frames[0].save(out, "GIF", save_all=True, append_images=frames[1:]))
    return [_picture("GIF", "P"), animated]


def webp_seeds(folder: Path) -> list[bytes]:
    return [_picture("WEBP"), _picture("WEBP", "RGBA", lossless=True)]


def tiff_seeds(folder: Path) -> list[bytes]:
    return [_picture("TIFF"), _picture("TIFF", "L", compression="tiff_lzw"), _picture("TIFF", compression="jpeg")]


def bmp_seeds(folder: Path) -> list[bytes]:
    return [_picture("BMP"), _picture("BMP", "P"), _picture("BMP", "1")]


def _sound(form: str, subtype: str, channels: int = 1) -> bytes:
    import soundfile

    x = np.sin(np.arange(1200)[:, None] * np.array([0.2, 0.3])[:channels]).astype(np.float32) / 2
    return _written(lambda out: soundfile.write(out, x, 8000, format=form, subtype=subtype))


def sound_seeds(form: str, subtype: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [_sound(form, subtype), _sound(form, subtype, 2)]


def wav_seeds(folder: Path) -> list[bytes]:
    kinds = ("PCM_16", "PCM_24", "FLOAT", "ULAW", "MS_ADPCM")
    return [*(_sound("WAV", kind) for kind in kinds), _sound("WAVEX", "PCM_16", 2), _sound("RF64", "PCM_16")]


def make_pictures(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / "pictures").mkdir(exist_ok=True)
        (folder / "pictures" / f"{name}.png").write_bytes(_picture("PNG"))


def label_file_seeds(folder: Path) -> list[bytes]:
    return [b"item,label\na.png,cat\nb.png,dog\nc.png,cat\n", b"item,label\r\n'a.png',1\r\nb.png,2\r\n"]


def read_label_file(folder: Path, file: Path) -> None:
    look_at(folder / "pictures", labels=str(file))
