"""The formats that are read: small valid files of each, and how the product reads one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz import mutators, own_files, user_files
from tests.fuzz.mutators import Mutator


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


def _cached(name: str, mutate: Mutator) -> Format:
    part = functools.partial
    return Format(
        name,
        part(own_files.cache_seeds, name),
        part(own_files.read_cache, name),
        mutate,
        part(own_files.make_cache, name),
    )


def _run_file(name: str, mutate: Mutator, read: Callable[[Path, Path], Any]) -> Format:
    return Format(f"runs/one/{name}", functools.partial(own_files.run_seeds, name), read, mutate, own_files.fitted)


FORMATS: dict[str, Format] = {
    "csv": Format("table.csv", user_files.csv_seeds, user_files.read_data, mutators.text),
    "tsv": Format(
        "table.tsv",
        lambda folder: [user_files.frame().to_csv(sep="\t").encode()],
        user_files.read_data,
        mutators.text,
    ),
    "parquet": Format("table.parquet", user_files.parquet_seeds, user_files.read_data),
    "arrow": Format("table.arrow", user_files.arrow_seeds, user_files.read_data),
    "feather": Format("table.feather", user_files.feather_seeds, user_files.read_data),
    "npy": Format("array.npy", user_files.npy_seeds, user_files.read_data, mutators.npy),
    "npz": Format("arrays.npz", user_files.npz_seeds, user_files.read_data, mutators.zipped(mutators.npy)),
    "idx": Format("train-images-idx3-ubyte", user_files.idx_seeds, user_files.read_data, mutators.idx),
    "idx.gz": Format(
        "train-images-idx3-ubyte.gz", user_files.idx_gz_seeds, user_files.read_data, mutators.gzipped(mutators.idx)
    ),
    "labels.npy": Format("labels.npy", user_files.labels_npy_seeds, user_files.read_labels_npy, mutators.npy),
    "jpeg": Format("image.jpg", user_files.jpeg_seeds, user_files.read_data),
    "png": Format("image.png", user_files.png_seeds, user_files.read_data, mutators.png),
    "gif": Format("image.gif", user_files.gif_seeds, user_files.read_data),
    "webp": Format("image.webp", user_files.webp_seeds, user_files.read_data),
    "tiff": Format("image.tif", user_files.tiff_seeds, user_files.read_data),
    "bmp": Format("image.bmp", user_files.bmp_seeds, user_files.read_data),
    "wav": Format("sound.wav", user_files.wav_seeds, user_files.read_data),
    "flac": Format("sound.flac", user_files.sound_seeds("FLAC", "PCM_16"), user_files.read_data),
    "ogg": Format("sound.ogg", user_files.sound_seeds("OGG", "VORBIS"), user_files.read_data),
    "mp3": Format("sound.mp3", user_files.sound_seeds("MP3", "MPEG_LAYER_III"), user_files.read_data),
    "labels.csv": Format(
        "labels.csv", user_files.label_file_seeds, user_files.read_label_file, mutators.text, user_files.make_pictures
    ),
    "config.yaml": _run_file("config.yaml", mutators.text, own_files.look_at_run),
    "metrics.csv": _run_file("metrics.csv", mutators.text, own_files.look_at_run),
    "health.json": _run_file("health.json", mutators.text, own_files.look_at_run),
    "cost.json": _run_file("cost.json", mutators.text, own_files.look_at_run),
    "safetensors": _run_file("model.safetensors", mutators.safetensors, own_files.read_run),
    "last.ckpt": Format(
        "runs/one/checkpoints/last.ckpt",
        functools.partial(own_files.run_seeds, "checkpoints/last.ckpt"),
        own_files.read_run,
        mutators.zipped(mutators.any_bytes),
        own_files.make_unfinished,
    ),
    "resume": Format(
        "runs/one/checkpoints/last.ckpt",
        lambda folder: [(folder / "last.ckpt").read_bytes()],
        own_files.read_resumed,
        mutators.zipped(mutators.any_bytes),
        own_files.make_unfinished,
    ),
    "cache/manifest.json": _cached("manifest.json", mutators.text),
    "cache/x.bin": _cached("x.bin", mutators.any_bytes),
    "cache/labels.npy": _cached("labels.npy", mutators.npy),
    "cache/groups.npy": _cached("groups.npy", mutators.npy),
    "store marks": Format("store.marks", own_files.marks_seeds, own_files.read_marks),
}
