"""Random numbers that are a function of (seed, epoch, row, role, draw), not of the order in which they are asked for.

Every row owns a 64-bit key; its j-th number is a hash of (key + j) G, the construction of SplitMix64:
    Steele, Lea, Flood 2014, https://doi.org/10.1145/2714064.2660195; finaliser Mix13 of Stafford.
So a row gets the same draws alone or in any batch, on any process, before and after a resume. int64 wraps in torch.
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
    """The int64 with the bits of an unsigned 64-bit word."""
    word &= 0xFFFFFFFFFFFFFFFF
    return word - (1 << 64) if word >> 63 else word


def mix_int(word: int) -> int:
    """The finaliser on one Python integer: 64 bits -> 64 well-mixed bits."""
    word &= 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 30)) * _M1) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 27)) * _M2) & 0xFFFFFFFFFFFFFFFF
    return word ^ (word >> 31)


def mix(z: Tensor) -> Tensor:
    """The finaliser on int64 tensors; >> copies the sign, so the copies are masked away. In place, to save calls."""
    z = _mixed_in(z, 30).mul_(_signed(_M1))
    z = _mixed_in(z, 27).mul_(_signed(_M2))
    return _mixed_in(z, 31)


def _mixed_in(z: Tensor, shift: int) -> Tensor:
    """z ^ (z >> shift), as of an unsigned number."""
    return (z >> shift).bitwise_and_((1 << (64 - shift)) - 1).bitwise_xor_(z)


def _number(part: int | str) -> int:
    """A name as a number, the same in every process (Python's own hash of a string is not)."""
    return part if isinstance(part, int) else int.from_bytes(part.encode(), "little") % _PRIME


@dataclass(frozen=True)
class Keys:
    """One 64-bit key per row, and which of its streams we stand in.

    state: [n] int64;  stream: where the stream starts, a 64-bit number; moving to another costs no tensor operation
    """

    state: Tensor
    stream: int = 0

    @classmethod
    def of(cls, seed: int, epoch: int, rows: Tensor) -> Keys:
        """Keys of these rows of a dataset in this epoch.  rows: [n] int64"""
        constant = mix_int(mix_int(seed + _GAMMA) + epoch + 1)
        return cls(mix(rows * _signed(_GAMMA) + _signed(constant)))

    def fold(self, *parts: int | str) -> Keys:
        """Independent numbers for a role, a draw, an operation: `keys.fold("global", 1)`. Order matters."""
        stream = self.stream
        for part in parts:
            stream = mix_int(stream + mix_int(_number(part) + _GAMMA))
        return Keys(self.state, stream)

    def settled(self) -> Tensor:
        """[n] int64: these keys as one tensor; Keys(that) is where the streams below this one start."""
        return mix(self.state + _signed(self.stream))

    def _hashes(self, count: int) -> Tensor:
        """[n count] int64, all bits random."""
        start = (self.state + _signed(self.stream))[:, None]
        counter = torch.arange(count, device=self.state.device)
        return mix((start + counter) * _signed(_GAMMA))  # not counter * G: a compiler's symbolic integers do not wrap

    def uniform(self, *shape: int) -> Tensor:
        """[n *shape] float32 in [0, 1), multiples of 2^-24."""
        bits = (self._hashes(math.prod(shape)) >> 40) & 0xFFFFFF
        return (bits.to(torch.float32) * 2.0**-24).reshape(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """[n *shape] float32 standard normals (Box and Muller: one hash gives two)."""
        count = math.prod(shape)
        bits = self._hashes((count + 1) // 2)
        u = (bits >> 40).bitwise_and_(0xFFFFFF).add_(1).to(torch.float32).mul_(2.0**-24)  # in (0, 1]
        radius = u.log_().mul_(-2).sqrt_()
        angle = (bits >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(_TWO_PI * 2.0**-24)
        both = torch.cat([angle.cos().mul_(radius), angle.sin_().mul_(radius)], dim=1)
        return both[:, :count].reshape(-1, *shape)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """[n *shape] float32 uniform in [low, high)."""
        return self.uniform(*shape) * (high - low) + low

    def chance(self, probability: float, *shape: int) -> Tensor:
        """[n *shape] bool, true with this probability."""
        return self.uniform(*shape) < probability

    def choice(self, options: int, *shape: int) -> Tensor:
        """[n *shape] int64, uniform on 0 .. options - 1."""
        return (self.uniform(*shape) * options).long().clamp(max=options - 1)
