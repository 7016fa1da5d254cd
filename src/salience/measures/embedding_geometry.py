"""The shape of a cloud of embeddings, without labels: has it collapsed, and how does it fill its space?

effective rank   RankMe, exp of the entropy of the normalised singular values, https://arxiv.org/abs/2210.02885
uniformity       log mean exp(-2 |z_i - z_j|^2) over pairs on the unit sphere; lower is more even. 0 when collapsed
alignment        mean |z - z'|^2 over two views of one item, on the unit sphere; lower is more invariant
                 (both: Wang & Isola, https://arxiv.org/abs/2005.10242)
std              per dimension on the sphere, times sqrt(d): about 1 when the dimensions share the variance, 0 when
                 collapsed (SimSiam's figure 2, https://arxiv.org/abs/2011.10566)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from salience.measures.intervals import Metric, jackknife, mean


def effective_rank(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """x: [n d], weights: [n] of the rows -> [], between 1 and min(n, d)"""
    x = x.double()
    x = x if weights is None else x * weights.sqrt()[:, None]
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    eigenvalues = torch.linalg.eigvalsh(gram)
    eigenvalues = eigenvalues[eigenvalues > eigenvalues[-1] * 1e-14]  # below is rounding, whose root would count
    share = eigenvalues.sqrt() / eigenvalues.sqrt().sum()
    return (-share * share.log()).sum().exp()


def uniformity(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """x: [n d], n > 1 -> []"""
    z = F.normalize(x.double(), dim=1)
    weights = z.new_full((len(z),), 1 / len(z)) if weights is None else weights
    closeness = torch.exp(4 * (z @ z.T) - 4)  # |a - b|^2 = 2 - 2 a.b on the sphere
    pairs = weights[:, None] * weights * (1 - torch.eye(len(z), dtype=z.dtype))
    return ((closeness * pairs).sum() / pairs.sum()).log()


def std(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Of each dimension of the normalised rows, times sqrt(d).  x: [n d] -> [d]"""
    z = F.normalize(x.double(), dim=1)
    weights = z.new_full((len(z),), 1 / len(z)) if weights is None else weights / weights.sum()
    variance = weights @ z.square() - (weights @ z).square()
    return (variance.clamp(min=1e-24) * z.shape[1]).sqrt()


def alignment(a: Tensor, b: Tensor) -> Metric:
    """a, b: [n d], row i of both from the same item"""
    distance = (F.normalize(a.double(), dim=1) - F.normalize(b.double(), dim=1)).square().sum(1)
    return mean(distance.numpy(), low=0.0)


def geometry_metrics(x: Tensor) -> dict[str, Metric]:
    """x: [n d], n > 1; intervals: infinitesimal jackknife over the rows"""
    x = x if x.any() else torch.ones_like(x)  # a single point, wherever it lies
    n, limit = len(x), float(min(x.shape))
    return {
        "effective_rank": jackknife(lambda weights: effective_rank(x, weights), n, 1.0, limit),
        "uniformity": jackknife(lambda weights: uniformity(x, weights), n, -4.0 * 2, 0.0),
        "std_mean": jackknife(lambda weights: std(x, weights).mean(), n, 0.0),
        "std_least": jackknife(lambda weights: std(x, weights).min(), n, 0.0),
    }
