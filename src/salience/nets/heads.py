"""Heads: small networks on top of a representation, thrown away after training."""

from __future__ import annotations

from torch import nn

from salience.nets.dense import dense_layers


def head(*widths: int, last_norm: bool = False) -> nn.Sequential:
    """Linear layers through these widths, batch norm and ReLU between them.  [n widths[0]] -> [n widths[-1]]

    last_norm: a batch norm without weights after the last layer as well
    """
    layers = dense_layers(*widths[:-1])
    layers.append(nn.Linear(widths[-2], widths[-1], bias=not last_norm))
    return nn.Sequential(*layers, *([nn.BatchNorm1d(widths[-1], affine=False)] if last_norm else []))
