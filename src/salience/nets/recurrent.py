"""A recurrent encoder of sequences: gated recurrent units in both directions, and the mean over real steps.

Cho et al. 2014, https://arxiv.org/abs/1406.1078; both directions: Schuster & Paliwal 1997. For each step x_t,

    r, z = sigmoid(W x_t + U h_{t-1})    n = tanh(V x_t + r * (P h_{t-1}))    h_t = (1 - z) n + z h_{t-1}

The result of an item does not depend on its padding or its batch: real steps are moved to the front, so that padding
comes after all of them, and the backward direction reads each item from its own last step. Sequences are not packed,
because the products of a packed batch have sizes that depend on the other items, and round differently.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GRU(nn.Module):
    """Layers of bidirectional GRUs and the mean over real steps.  [n t width], mask [n t] -> [n dim]

    Args:
        width: Number of values of a step.
        dim: Width of the result, an even number.
        layers: Number of layers.
        stride: Number of consecutive steps that are read as one. The time that a GRU takes is proportional to the
            number of its steps.
    """

    def __init__(self, width: int, dim: int = 256, *, layers: int = 2, stride: int = 1) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim: expected an even number, for two directions, got {dim}")
        self.dim, self.stride = dim, stride
        widths = [width * stride] + [dim] * (layers - 1)
        self.forwards = nn.ModuleList(nn.GRU(one, dim // 2, batch_first=True) for one in widths)
        self.backwards = nn.ModuleList(nn.GRU(one, dim // 2, batch_first=True) for one in widths)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens, real = self.tokens(x, mask)
        return masked_mean(tokens, real)

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the state at every step, and which are real: [n t/stride dim], [n t/stride].

        Steps that `mask` leaves out are removed, and the others move to the front.
        """
        x, lengths = to_front(x, mask)
        x = stack_steps(x, self.stride)
        lengths = (lengths + self.stride - 1) // self.stride
        at = torch.arange(x.shape[1], device=x.device)
        reverse = (lengths[:, None] - 1 - at).clamp(min=0)  # [n t] its own inverse on real steps
        for onward, back in zip(self.forwards, self.backwards, strict=True):
            x = torch.cat([onward(x)[0], _take(back(_take(x, reverse))[0], reverse)], dim=2)
        return x, at < lengths[:, None]


def to_front(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Move real steps to the front in order, and set the others to 0.  [n t d], [n t] -> [n t d], lengths [n]"""
    if mask is None:
        return x, torch.full((len(x),), x.shape[1], device=x.device)
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    lengths = mask.sum(1)
    real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    return torch.where(real[..., None], _take(x, order), 0), lengths


def stack_steps(x: Tensor, stride: int) -> Tensor:
    """Join each `stride` consecutive steps, padded with zeros at the end.  [n t d] -> [n ceil(t/stride) stride*d]"""
    if stride == 1:
        return x
    padded = F.pad(x, (0, 0, 0, -x.shape[1] % stride))
    return padded.reshape(len(x), -1, stride * x.shape[2])


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Compute the mean over real steps; 0 for an item without any.  [n t d], [n t] -> [n d]"""
    if mask is None:
        return x.mean(1)
    return torch.where(mask[..., None], x, 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _take(x: Tensor, order: Tensor) -> Tensor:
    """Reorder the steps of each item.  [n t d], [n t] -> [n t d]"""
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[2]))
