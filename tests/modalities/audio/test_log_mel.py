"""Log-mel spectrograms equal librosa's, whatever padding follows."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from salience.modalities.audio import MODALITY
from salience.modalities.audio.log_mel import log_mel, mel_filters
from salience.modalities.audio.spec import AudioSpec, frames_of
from salience.modalities.audio.unit import mean_and_std

RATES = (8000, 16_000, 22_050, 44_100)


def reference(x: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """[frames bands]"""
    power = librosa.feature.melspectrogram(
        y=x, sr=spec.rate, n_fft=spec.n_fft, hop_length=spec.hop, n_mels=spec.bands, pad_mode="constant", power=2.0
    )
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T


@pytest.mark.parametrize("rate", RATES)
def test_they_equal_those_of_librosa(rate: int) -> None:
    spec, rng = AudioSpec.at(rate), np.random.default_rng(rate)
    x = (0.1 * rng.normal(size=rate // 2)).astype(np.float32)
    x += np.sin(np.linspace(0, 900, len(x))).astype(np.float32) * 0.3
    ours = log_mel(torch.from_numpy(x)[None], spec)[0].numpy()
    np.testing.assert_allclose(ours, reference(x, spec), atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", RATES)
def test_filters_equal_those_of_librosa(rate: int) -> None:
    spec = AudioSpec.at(rate)
    ours = mel_filters(rate, spec.n_fft, spec.bands).numpy()
    np.testing.assert_allclose(ours, librosa.filters.mel(sr=rate, n_fft=spec.n_fft, n_mels=spec.bands), atol=1e-7)


@pytest.mark.parametrize("samples", [1, 79, 80, 81, 255, 1000])
def test_padding_does_not_change_real_frames(samples: int) -> None:
    spec = AudioSpec.at(8000)
    x = torch.randn(1, samples, generator=torch.Generator().manual_seed(samples)) * 0.1
    alone = log_mel(x, spec)
    padded = log_mel(torch.nn.functional.pad(x, (0, 5000)), spec)
    assert alone.shape[1] == frames_of(samples, spec.hop)
    torch.testing.assert_close(padded[:, : alone.shape[1]], alone, atol=1e-4, rtol=1e-5)


def test_silence_is_the_floor() -> None:
    assert torch.equal(log_mel(torch.zeros(1, 400), AudioSpec.at(8000)), torch.full((1, 6, 40), -100.0))


def test_raw_features_are_mean_and_deviation_of_real_frames() -> None:
    x = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    found = mean_and_std(x, mask)
    for row, length in enumerate((9, 4)):
        real = x[row, :length].numpy()
        np.testing.assert_allclose(found[row], np.concatenate([real.mean(0), real.std(0)]), rtol=1e-5)


def test_a_spec_survives_yaml_and_refuses_nonsense() -> None:
    from dataclasses import replace

    from salience.modalities import Spec

    spec = replace(AudioSpec.at(8000, 4000), mean=(1.0,) * 40, std=(2.0,) * 40)
    assert Spec.from_dict(spec.to_dict()) == spec
    assert spec.modality is MODALITY
    for damage in ({"rate": 0}, {"mean": [1.0]}, {"hop": -1}, {"n_fft": 1 << 30}, {"length": "long"}):
        with pytest.raises(ValueError, match=next(iter(damage))):
            Spec.from_dict(spec.to_dict() | damage)
