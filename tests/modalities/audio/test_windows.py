"""Long recordings become windows, those of one file stay together, and memory stays flat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import salience
from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.evaluation.split import held_out
from salience.modalities.audio.windows import starts
from salience.reading import Reading
from tests.modalities.audio.sounds import RATE, as_int16, tone, write_notes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long recording, a short one, and one of exactly a window."""
    folder = tmp_path_factory.mktemp("long")
    for name, seconds in (("long", 2.3), ("short", 0.4), ("whole", 1.0)):
        (folder / name[0]).mkdir()
        noise = np.random.default_rng(len(name)).uniform(-0.4, 0.4, round(seconds * RATE)).astype(np.float32)
        soundfile.write(folder / name[0] / f"{name}.wav", noise, RATE)
    return folder


def opened(folder: Path, **options: float) -> Dataset:
    return open_data(folder, reading=Reading(**options), progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("length", "window", "hop", "expected"),
    [
        (5, 10, 10, [0]),
        (10, 10, 10, [0]),
        (20, 10, 10, [0, 10]),
        (23, 10, 10, [0, 10, 13]),
        (23, 10, 5, [0, 5, 10, 13]),
        (11, 10, 10, [0, 1]),
    ],
)
def test_windows_cover_a_recording(length: int, window: int, hop: int, expected: list[int]) -> None:
    assert starts(length, window, hop) == expected
    assert {at for start in expected for at in range(start, min(start + window, length))} == set(range(length))


def test_windows_are_items_with_the_label_and_the_group_of_their_file(folder: Path) -> None:
    data = opened(folder, window=1.0)
    assert list(data.ids) == ["l/long.wav#0", "l/long.wav#1", "l/long.wav#1.3", "s/short.wav", "w/whole.wav"]
    assert data.labels is not None
    assert data.groups is not None
    assert data.labels.tolist() == [0, 0, 0, 1, 2]
    assert len({*data.groups[:3].tolist()}) == 1
    assert len({*data.groups.tolist()}) == 3
    samples, _ = soundfile.read(folder / "l" / "long.wav", dtype="int16")
    for row, start in enumerate((0, 8000, 10_400)):
        assert np.array_equal(data.item(row), samples[start : start + 8000])
    assert data.spec.length == 8000
    assert len(opened(folder, window=1.0, hop=0.5)) == 4 + 2


def test_short_items_are_padded_with_silence_and_masked(folder: Path) -> None:
    data = opened(folder, window=1.0)
    batch = data.batch(np.array([3, 0]))
    assert batch.mask is not None
    assert batch.x.shape == (2, 8000)
    assert not batch.x[0, 3200:].any()
    assert batch.mask.sum(1).tolist() == [41, 101]


def test_files_stay_on_one_side_of_a_split(tmp_path: Path) -> None:
    write_notes(tmp_path, 12, least=0.3, most=0.6)
    data = opened(tmp_path, window=0.1)
    files = np.array([name.partition("#")[0] for name in data.ids])
    assert data.labels is not None
    held = held_out(data.labels, data.groups)
    assert len(data) > 36
    assert 0 < held.sum() < len(data)
    assert not set(files[held]) & set(files[~held])


def test_the_cache_is_read_again_and_options_change_it(folder: Path) -> None:
    first, again = opened(folder, window=1.0), opened(folder, window=1.0)
    assert first.fingerprint == again.fingerprint
    assert list(first.ids) == list(again.ids)
    assert isinstance(again.stored.values, np.memmap)  # type: ignore[union-attr]
    assert np.array_equal(first.item(4), again.item(4))
    assert len(opened(folder, window=0.5)) != len(first)
    assert len(opened(folder / "l" / "long.wav")) == 1
    assert len(opened(folder / "l" / "long.wav", window=1.0)) == 3


def test_hop_without_window_and_nonsense_are_refused(folder: Path) -> None:
    for options in ({"hop": 1.0}, {"window": 0.0}, {"window": -1}, {"window": 1.0, "hop": 2.0}, {"rate": 1}):
        with pytest.raises(UserError, match=r"hop|window|rate"):
            Reading(**options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="channel"):
        Reading(channel="middle")
    with pytest.raises(UserError, match="window"):
        open_data(np.zeros((3, 4)), reading=Reading(window=1.0), progress=False)


def test_new_data_are_cut_as_those_of_the_run(folder: Path, tmp_path: Path) -> None:
    salience.fit("pca", folder, out=tmp_path / "run", reading=Reading(window=1.0), progress=False, dim=2)
    run = salience.load(tmp_path / "run")
    assert run.spec.length == 8000
    assert len(run.embed(folder)) == 5
    soundfile.write(tmp_path / "new.wav", tone(seconds=1.5, rate=16_000), 16_000)
    new = run.open(tmp_path / "new.wav", progress=False)
    assert list(new.ids) == ["new.wav#0", "new.wav#0.5"]
    assert np.abs(new.item(0)[200:-200].astype(int) - as_int16(tone(seconds=1.0))[200:-200]).max() < 40


def test_equal_lengths_need_no_window_and_longer_items_are_named(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(4):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", tone(300 + 100 * number), RATE)
    soundfile.write(tmp_path / "long.wav", tone(seconds=2), RATE)
    salience.fit("pca", tmp_path / "clips", out=tmp_path / "run", progress=False, dim=2)
    run = salience.load(tmp_path / "run")
    assert run.spec.length == 2400
    with pytest.raises(UserError, match="--window"):
        run.embed(tmp_path / "long.wav")


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    rng = np.random.default_rng(0)
    for number in range(13):
        folder = tmp_path / ("many" if number else "one")
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{number}.wav", rng.uniform(-1, 1, 2_500_000).astype(np.float32), RATE)
    program = (
        "import sys, torch\n"
        "from salience.data import open_data\n"
        "few = open_data(sys.argv[1], progress=False)\n"  # loads what is needed
        "kept = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1])\n"
        "before = kept()\n"
        "data = open_data(sys.argv[2], progress=False)\n"
        "print(len(data), kept() - before)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "one"), str(tmp_path / "many")]
    returned = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # freed memory is not kept
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | returned)
    rows, grown = map(int, done.stdout.split())
    assert rows == 12
    assert grown < 30_000  # kB, of 60,000 that are stored
