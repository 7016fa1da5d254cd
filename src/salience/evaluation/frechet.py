"""Fréchet distance of two clouds of features, each taken for a Gaussian: 0 where mean and covariance agree.

    d = |m_a - m_b|^2 + tr(A) + tr(B) - 2 tr (A^1/2 B A^1/2)^1/2

Dowson & Landau 1982, https://doi.org/10.1016/0047-259X(82)90077-X; of generated images Heusel et al. 2017,
https://arxiv.org/abs/1706.08500 (theirs on Inception's features). It falls with the number of rows even between equals,
so only distances of equally many rows can be compared.
"""

from __future__ import annotations

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of two sets of rows.  [n d], [m d] -> at least 0"""
    return gaussian_distance(*moments(a), *moments(b))


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and unbiased covariance [d d].  x: [n d], n > 1"""
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def gaussian_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Of two Gaussians: the squared 2-Wasserstein distance.  [d], [d d] twice -> at least 0"""
    root = _root(covariance_a)
    # A B has the eigenvalues of the symmetric root B root, whose rounding leaves them real
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(0)).sum()
    apart = np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * shared
    return max(0.0, float(apart))


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a positive semi-definite matrix, [d d]."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T
