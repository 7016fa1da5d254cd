"""Log-mel spectrograms: power in triangular bands of the mel scale, in dB.

Slaney 1998, "Auditory Toolbox", as implemented by librosa: the scale is linear below 1 kHz (66.7 Hz per mel) and
logarithmic above; each triangle has area 2 over its width in Hz (`norm="slaney"`). With Hann windows w of n_fft
samples, centred at multiples of `hop` in a recording that is preceded and followed by silence:

    S[t, b] = sum_f M[b, f] |FFT(w x_t)[f]|^2        dB[t, b] = 10 log10 max(S[t, b], 1e-10)

It equals `librosa.power_to_db(librosa.feature.melspectrogram(..., pad_mode="constant"), top_db=None)`.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from salience.modalities.audio.spec import FLOOR, AudioSpec

LINEAR = 200 / 3  # Hz per mel below BREAK
BREAK = 1000.0
STEP = math.log(6.4) / 27  # of log(Hz) per mel above BREAK


def log_mel(x: Tensor, spec: AudioSpec) -> Tensor:
    """Compute log-mel spectrograms in dB.

    Args:
        x: [n t] float32 samples within [-1, 1].
        spec: The settings.

    Returns:
        [n frames bands], with 1 + t // hop frames.
    """
    window = torch.hann_window(spec.n_fft, dtype=x.dtype, device=x.device)
    waves = torch.stft(
        x, spec.n_fft, spec.hop, window=window, center=True, pad_mode="constant", return_complex=True
    )  # [n n_fft/2+1 frames]
    power = waves.real.square() + waves.imag.square()
    filters = mel_filters(spec.rate, spec.n_fft, spec.bands).to(power)
    return decibels(torch.matmul(power.transpose(1, 2), filters.T))


def decibels(power: Tensor) -> Tensor:
    """Convert powers to dB, at least -100."""
    return 10 * power.clamp(min=FLOOR).log10()


@functools.cache
def mel_filters(rate: int, n_fft: int, bands: int) -> Tensor:
    """Return the triangles of the mel bands, [bands n_fft/2+1] float32."""
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    edges = _hertz(torch.linspace(0, _mels(rate / 2), bands + 2, dtype=torch.float64))
    width = edges.diff()
    ramps = edges[:, None] - bins[None]  # [bands+2 bins]
    rising, falling = -ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).float()


def _mels(hertz: float) -> float:
    if hertz < BREAK:
        return hertz / LINEAR
    return BREAK / LINEAR + math.log(hertz / BREAK) / STEP


def _hertz(mels: Tensor) -> Tensor:
    start = BREAK / LINEAR
    return torch.where(mels < start, mels * LINEAR, BREAK * ((mels - start).clamp(min=0) * STEP).exp())
