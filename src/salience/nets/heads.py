"""Heads: small networks on top of a representation, thrown away after training."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def head(*widths: int, last_norm: bool = False) -> nn.Sequential:
    """Linear layers through these widths, batch norm and ReLU between them.  [n widths[0]] -> [n widths[-1]]

    last_norm: a batch norm without weights after the last layer as well
    """
    *before, last = pairwise(widths)
    layers: list[nn.Module] = []
    for width, out in before:
        layers += [nn.Linear(width, out, bias=False), nn.BatchNorm1d(out), nn.ReLU(inplace=True)]
    layers.append(nn.Linear(*last, bias=not last_norm))
    return nn.Sequential(*layers, *([nn.BatchNorm1d(last[1], affine=False)] if last_norm else []))
