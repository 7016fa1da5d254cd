"""Ways from one code to another, and how ordinary the items along them are.

    lerp(a, b, t) = (1 - t) a + t b
    slerp(a, b, t) = (sin((1 - t) w) a + sin(t w) b) / sin w      w the angle between a and b (Shoemake 1985,
                                                                  https://doi.org/10.1145/325165.325242)

An item's density is estimated by how far its k-th nearest real item is (Loftsgaarden & Quesenberry 1965,
https://doi.org/10.1214/aoms/1177700079): log p = -D log d_k + a constant. Per dimension, relative to real items:

    path density = mean log d_k(real) - mean log d_k(item)        0: as ordinary as real items; below 0: less

in one feature space, the same for every run, so that two runs can be compared on the same data and pairs. Every
item is first brought to the brightness and contrast of the real ones, and compared are directions from the mean of the
real items' features: what is pale or averaged lies near that mean, hence near to everything, and a cross-fade of two
items would pass for more ordinary than real ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

PARALLEL = 1e-4  # radians from the same or the opposite direction
NEIGHBOURS = 5
LEAST_DISTANCE = 1e-12
FLAT = 1e-3  # standard deviation of an item's values, on the unit scale, that counts as contrast


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """[n d], [n d], [s] -> [n s d]"""
    t = t[:, None].to(a.dtype)
    return (1 - t) * a[:, None] + t * b[:, None]


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along the arc, with lengths between; straight where there is no one arc.  [n d], [n d], [s] -> [n s d]"""
    unit_a, unit_b = (torch.nn.functional.normalize(x.double(), dim=1) for x in (a, b))
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=1), (unit_a + unit_b).norm(dim=1))  # exact for small ones too
    zero = (a.norm(dim=1) == 0) | (b.norm(dim=1) == 0)
    straight = zero | (angle < PARALLEL) | (angle > torch.pi - PARALLEL)
    safe = torch.where(straight, torch.ones_like(angle), angle)[:, None]
    s = t[None].double()
    from_a, from_b = torch.sin((1 - s) * safe) / torch.sin(safe), torch.sin(s * safe) / torch.sin(safe)
    arc = from_a[..., None] * a.double()[:, None] + from_b[..., None] * b.double()[:, None]
    return torch.where(straight[:, None, None], lerp(a, b, t), arc.to(a.dtype))


def brought_to(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Bring each item to this mean and standard deviation of its values; a flat one stays flat.

    x: [n ...], mean, std: [] -> [n ...]
    """
    values = x.flatten(1)
    spread, middle = torch.std_mean(values, dim=1, keepdim=True, correction=0)
    return ((values - middle) / spread.clamp(min=FLAT) * std + mean).view_as(x)


def directions(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Unit vectors from the centre; zero for what lies at it.  x: [n d], centre: [d] -> [n d]"""
    away = x - centre
    return away / np.linalg.norm(away, axis=1, keepdims=True).clip(LEAST_DISTANCE)


def log_reach(x: np.ndarray, real: np.ndarray, without: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """log d_k, the distance to the k-th nearest real item, not counting some.

    x: [m d], real: [n d], without: [m c] rows of `real` that are no neighbours of an item of x -> [m]
    """
    parts = []
    base = torch.from_numpy(real)
    for rows in _blocks(len(x)):
        distance = torch.cdist(torch.from_numpy(x[rows]), base)
        distance.scatter_(1, torch.from_numpy(without[rows]), torch.inf)
        parts.append(distance.kthvalue(k, dim=1).values.clamp(min=LEAST_DISTANCE).log())
    return torch.cat(parts).numpy()


def _blocks(n: int, size: int = 512) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, n, size))
