"""Heads: small networks on top of a representation, thrown away after training."""

from __future__ import annotations

from torch import nn


def projector(dim: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, linear.  [n dim] -> [n out]"""
    return nn.Sequential(
        nn.Linear(dim, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out)
    )
