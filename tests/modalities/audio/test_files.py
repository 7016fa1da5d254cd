"""Files as they come: each kind is read rightly, or named in one line."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.modalities.audio.reader import Reader, UnreadableError
from salience.modalities.audio.worker import wrong_length
from salience.reading import Reading
from tests.modalities.audio.sounds import RATE, as_int16, chunk, form, tone, wav


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


def opened(path: Path, **options: object) -> Dataset:
    return open_data(path, reading=Reading(kind="audio", **options), progress=False)  # type: ignore[arg-type]


def said(data: Dataset, word: str) -> str:
    """The only note with this word."""
    (note,) = [note for note in data.notes if word in note]
    return note


def assert_close(found: np.ndarray, expected: np.ndarray, steps: float = 1.0) -> None:
    assert len(found) == len(expected)
    assert np.abs(found.astype(float) - as_int16(expected)).max() <= steps


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"),
    ],
)
def test_each_kind_of_wav_gives_the_samples(reader: Reader, tmp_path: Path, form: str, subtype: str) -> None:
    x = tone()
    soundfile.write(tmp_path / "a.wav", x, RATE, subtype=subtype, format=form)
    found, flags = reader.samples(str(tmp_path / "a.wav"), RATE, "mix")
    assert_close(found, x)
    assert not flags


@pytest.mark.parametrize(("name", "steps"), [("a.flac", 1), ("a.ogg", 1200), ("a.mp3", 1200), ("a.aiff", 1)])
def test_each_format_gives_the_samples(reader: Reader, tmp_path: Path, name: str, steps: float) -> None:
    x = tone(seconds=0.5, rate=16_000)
    soundfile.write(tmp_path / name, x, 16_000)
    found, _ = reader.samples(str(tmp_path / name), 16_000, "mix")
    assert_close(found[200:-200], x[200:-200], steps)
    assert len(found) == len(x)  # the delay and the padding of an MP3 encoder are cut off


def test_chunks_before_the_data_are_skipped(reader: Reader) -> None:
    x = tone()
    extra = [chunk(b"JUNK", bytes(35)), chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"data")]
    found, flags = reader.samples(wav(form(), *extra, chunk(b"data", as_int16(x).tobytes())), RATE, "mix")
    assert_close(found, x)
    assert not flags
    after = wav(form(), chunk(b"data", as_int16(x).tobytes()), *extra)
    assert not reader.samples(after, RATE, "mix")[1]


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 100, 10**6])
def test_a_wrong_length_in_the_header_is_told(tmp_path: Path, length: int) -> None:
    x = tone()
    (tmp_path / "a.wav").write_bytes(wav(form(), chunk(b"data", as_int16(x).tobytes(), length), length=length))
    data = opened(tmp_path)
    assert_close(data.item(0), x)
    assert "a.wav" in said(data, "length")


def test_a_header_without_samples_is_empty(reader: Reader) -> None:
    for content in (wav(form(), chunk(b"data", b"")), wav(form(), chunk(b"data", b""), chunk(b"LIST", b"INFO"))):
        with pytest.raises(UnreadableError, match="no samples"):
            reader.samples(content, RATE, "mix")


def sparse(path: Path, head: bytes, data: int) -> Path:
    """A file that is longer than 4 GB and takes no room."""
    path.write_bytes(head)
    os.truncate(path, len(head) + data)
    return path


def test_files_of_more_than_4_gb_are_read_whole_or_named(reader: Reader, tmp_path: Path) -> None:
    data = (1 << 32) + (1 << 20)
    ds64 = chunk(b"ds64", struct.pack("<QQQI", data + 100, data, data // 2, 0))
    head = b"RF64" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + ds64 + form() + b"data" + struct.pack("<I", 0xFFFFFFFF)
    assert reader.header(str(sparse(tmp_path / "a.rf64", head, data))).frames == data // 2
    wrapped = wav(form(), b"data" + struct.pack("<I", data % 2**32))  # as writers do that count in 32 bits
    path = sparse(tmp_path / "b.wav", wrapped, data)
    with pytest.raises(UnreadableError, match="4 GB"):
        reader.header(str(path))
    with path.open("rb") as file:
        assert wrong_length(file) == len(wrapped) - 4


def test_an_mp3_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    x = tone(seconds=1.0, rate=16_000)
    soundfile.write(tmp_path / "a.mp3", x, 16_000)
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 2])
    data = opened(tmp_path)
    assert 1000 < len(data.item(0)) < len(x)
    assert_close(data.item(0)[200:-1200], x[200 : len(data.item(0)) - 1200], 1200)
    assert "a.mp3" in said(data, "header")


def test_a_flac_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", x, 16_000)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) * 3 // 4])
    data = opened(tmp_path)
    found = data.item(0)
    assert 65_000 < len(found) < len(x)
    assert_close(found[:65_000], x[:65_000])
    assert "a.flac" in said(data, "header")


def test_channels_of_opposite_phase_are_told(tmp_path: Path) -> None:
    x = tone()
    soundfile.write(tmp_path / "a.wav", np.stack([x, -x], 1), RATE, subtype="FLOAT")
    data = opened(tmp_path)
    assert not data.item(0).any()
    assert "--channel" in said(data, "a.wav")
    left = opened(tmp_path, channel="left")
    assert_close(left.item(0), x)
    assert_close(opened(tmp_path, channel="right").item(0), -x)
    assert not [note for note in left.notes if "phase" in note]
    with pytest.raises(UserError, match="channel 3"):
        opened(tmp_path, channel="3")


def test_the_mix_is_the_mean(reader: Reader, tmp_path: Path) -> None:
    a, b = tone(300), tone(700, peak=0.2)
    soundfile.write(tmp_path / "a.wav", np.stack([a, b], 1), RATE, subtype="FLOAT")
    found, flags = reader.samples(str(tmp_path / "a.wav"), RATE, "mix")
    assert_close(found, (a + b) / 2)
    assert not flags


def test_mixed_rates_become_the_most_frequent_one(tmp_path: Path) -> None:
    for number, rate in enumerate((16_000, 8000, 8000)):
        soundfile.write(tmp_path / f"{number}.wav", tone(440, 0.5, rate), rate)
    data = opened(tmp_path)
    assert data.spec.rate == 8000
    assert "--rate" in said(data, "16,000")
    assert_close(data.item(0)[200:-200], tone(440, 0.5)[200:-200], 40)
    assert opened(tmp_path, rate=16_000).spec.rate == 16_000
    assert len(opened(tmp_path, rate=16_000).item(1)) == 8000


def test_empty_silent_short_and_lying_files(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(900, np.float32), RATE)
    soundfile.write(tmp_path / "short.wav", tone(seconds=0.001), RATE)
    soundfile.write(tmp_path / "song.mp3", tone(seconds=0.5, rate=8000), 8000)
    (tmp_path / "song.mp3").rename(tmp_path / "mp3.wav")
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.jpg")
    (tmp_path / "picture.jpg").rename(tmp_path / "jpeg.wav")
    (tmp_path / "nothing.wav").write_bytes(b"")
    soundfile.write(tmp_path / "один два.wav", tone(), RATE)
    data = opened(tmp_path)
    assert list(data.ids) == ["mp3.wav", "short.wav", "silent.wav", "один два.wav"]
    assert {item.id: item.reason for item in data.bad}.keys() == {"empty.wav", "jpeg.wav", "nothing.wav"}
    assert all("\n" not in item.reason and len(item.reason) > 5 for item in data.bad)
    assert "silent.wav" in said(data, "silent")
    assert abs(len(data.item(0)) - 4000) < 10
    batch = data.batch(np.arange(4))
    assert batch.mask is not None
    assert batch.mask.sum(1).tolist() == [1 + len(data.item(row)) // 80 for row in range(4)]
    assert np.isfinite(data.spec.modality.unit(batch.x, data.spec).numpy()).all()


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    os.rename(os.fsencode(tmp_path / "a.wav"), os.fsencode(tmp_path) + b"/\xe9\xff.wav")  # noqa: PTH104
    assert len(opened(tmp_path)) == 1


def test_floats_beyond_full_scale_and_nan(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", 3 * tone(), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "nan.wav", np.full(500, np.nan, np.float32), RATE, subtype="FLOAT")
    data = opened(tmp_path)
    assert data.item(0).max() == 32767
    assert "loud.wav" in said(data, "full scale")
    assert [item.id for item in data.bad] == ["nan.wav"]


def test_a_crash_of_the_decoder_is_named_and_the_next_file_is_read(reader: Reader) -> None:
    content = wav(form(), chunk(b"data", as_int16(tone()).tobytes()))
    reader.header(content)
    reader._idle[-1].kill()
    reader._idle[-1].wait()
    with pytest.raises(UnreadableError, match="SIGKILL"):
        reader.header(content)
    assert reader.header(content).frames == len(tone())


def test_a_decoder_that_never_answers_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from salience.modalities.audio import reader as module

    monkeypatch.setattr(module, "PATIENCE", 0.3)
    monkeypatch.setattr(module, "WORKER", Path(__file__).with_name("sleeper.py"))
    with pytest.raises(UnreadableError, match="SIGKILL"):
        Reader().header(b"RIFF")


def test_nothing_readable_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"a\.wav") as refusal:
        opened(tmp_path)
    assert "\n" not in str(refusal.value)
