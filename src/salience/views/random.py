"""Random numbers that depend only on (seed, epoch, row, role, draw), not on the order of calls.

Every row has a 64-bit key; its j-th number is a hash of (key + j) G, the construction of SplitMix64:
    Steele, Lea, Flood 2014, https://doi.org/10.1145/2714064.2660195; finaliser Mix13 of Stafford.
So a row gets the same draws in any batch, on any process, and after a resume. int64 arithmetic wraps in torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_PRIME = 2**61 - 1
_TWO_PI = 2 * math.pi


def _signed(word: int) -> int:
    """Convert an unsigned 64-bit word to the int64 with the same bits."""
    word &= 0xFFFFFFFFFFFFFFFF
    return word - (1 << 64) if word >> 63 else word


def mix_int(word: int) -> int:
    """Apply the finaliser to a Python integer: 64 bits -> 64 mixed bits."""
    word &= 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 30)) * _M1) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 27)) * _M2) & 0xFFFFFFFFFFFFFFFF
    return word ^ (word >> 31)


def mix(z: Tensor) -> Tensor:
    """Apply the finaliser to int64 tensors in place. >> copies the sign bit, so the copies are masked."""
    z = _mixed_in(z, 30).mul_(_signed(_M1))
    z = _mixed_in(z, 27).mul_(_signed(_M2))
    return _mixed_in(z, 31)


def _mixed_in(z: Tensor, shift: int) -> Tensor:
    """Compute z ^ (z >> shift) of unsigned numbers."""
    return (z >> shift).bitwise_and_((1 << (64 - shift)) - 1).bitwise_xor_(z)


def _number(part: int | str) -> int:
    """Convert a name to a number that is equal in every process (Python's hash of a string is not)."""
    return part if isinstance(part, int) else int.from_bytes(part.encode(), "little") % _PRIME


@dataclass(frozen=True)
class Keys:
    """One 64-bit key per row, and the current random stream.

    Attributes:
        state: [n] int64 keys.
        stream: Start of the stream, a 64-bit number; another stream costs no tensor operation.
    """

    state: Tensor
    stream: int = 0

    @classmethod
    def of(cls, seed: int, epoch: int, rows: Tensor) -> Keys:
        """Make the keys of these rows [n] int64 of a dataset in this epoch."""
        constant = mix_int(mix_int(seed + _GAMMA) + epoch + 1)
        return cls(mix(rows * _signed(_GAMMA) + _signed(constant)))

    def fold(self, *parts: int | str) -> Keys:
        """Return an independent stream for a role, a draw or an operation: `keys.fold("global", 1)`."""
        stream = self.stream
        for part in parts:
            stream = mix_int(stream + mix_int(_number(part) + _GAMMA))
        return Keys(self.state, stream)

    def settled(self) -> Tensor:
        """Return keys and stream as one tensor [n] int64. `Keys` of it is the start of the streams below this one."""
        return mix(self.state + _signed(self.stream))

    def _hashes(self, count: int) -> Tensor:
        """Draw [n count] int64 with random bits."""
        start = (self.state + _signed(self.stream))[:, None]
        counter = torch.arange(count, device=self.state.device)
        return mix((start + counter) * _signed(_GAMMA))  # not counter * G: a compiler's symbolic integers do not wrap

    def uniform(self, *shape: int) -> Tensor:
        """Draw [n *shape] float32 uniform in [0, 1), multiples of 2^-24."""
        bits = (self._hashes(math.prod(shape)) >> 40) & 0xFFFFFF
        return (bits.to(torch.float32) * 2.0**-24).reshape(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Draw [n *shape] float32 standard normals (Box and Muller, two per hash)."""
        count = math.prod(shape)
        bits = self._hashes((count + 1) // 2)
        u = (bits >> 40).bitwise_and_(0xFFFFFF).add_(1).to(torch.float32).mul_(2.0**-24)  # in (0, 1]
        radius = u.log_().mul_(-2).sqrt_()
        angle = (bits >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(_TWO_PI * 2.0**-24)
        both = torch.cat([angle.cos().mul_(radius), angle.sin_().mul_(radius)], dim=1)
        return both[:, :count].reshape(-1, *shape)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw [n *shape] float32 uniform in [low, high)."""
        return self.uniform(*shape) * (high - low) + low

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Draw [n *shape] bool, true with this probability."""
        return self.uniform(*shape) < probability

    def coarse_chance(self, probability: float, *shape: int) -> Tensor:
        """Draw [n *shape] bool as `chance`, to a multiple of 2^-16 and four per hash, for many values."""
        count = math.prod(shape)
        words = self._hashes(-(-count // 4)).view(torch.int16)[:, :count]
        return (words < round(probability * 2**16) - 2**15).reshape(-1, *shape)

    def choice(self, options: int, *shape: int) -> Tensor:
        """Draw [n *shape] int64, uniform on 0 .. options - 1."""
        return (self.uniform(*shape) * options).long().clamp(max=options - 1)
