"""The parameters of a DBM, the mean field of its hidden layers, and the resulting bound. Formulas: see dbm.py."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from salience.methods.boltzmann._machine import Machine, visible_energy
from salience.methods.precision import full_precision


class Net(nn.Module):
    """The parameters of a DBM and its mean field.

    widths: widths of the layers, the visible one first;  gaussian: number of normal visible units
    passes: number of mean-field passes over all layers
    """

    def __init__(self, widths: list[int], gaussian: int, passes: int):
        super().__init__()
        self.weights = nn.ParameterList(nn.init.xavier_normal_(torch.empty(b, a)) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(width) for width in widths)
        self.gaussian = gaussian
        self.passes = passes

    def forward(self, x: Tensor) -> Tensor:
        """Return q of all hidden layers, concatenated.  [n ...] -> [n sum of hidden widths]"""
        return torch.cat(self.mean_field(x.flatten(1)), dim=1)

    def mean_field(self, v: Tensor) -> list[Tensor]:
        """Compute q_1 .. q_L, each [n width]. An initial upward pass doubles the input from below."""
        depth, below = len(self.weights), v @ self.weights[0].T  # v is constant, so its product is computed once
        q: list[Tensor] = []
        for layer in range(depth):
            twice = 2 if layer + 1 < depth else 1
            q.append(self._on(layer, twice * (q[-1] @ self.weights[layer].T if q else below)))
        for _ in range(self.passes):
            for layer in (*range(0, depth, 2), *range(1, depth, 2)):
                inputs = q[layer - 1] @ self.weights[layer].T if layer else below
                if layer + 1 < depth:
                    inputs = inputs + q[layer + 1] @ self.weights[layer + 1]
                q[layer] = self._on(layer, inputs)
        return q

    def _on(self, layer: int, inputs: Tensor) -> Tensor:
        """Compute the probabilities of a hidden layer's units, in full precision.  [n width] -> [n width]"""
        bias = self.biases[layer + 1]
        return (inputs.to(bias.dtype) + bias).sigmoid()

    def bound(self, v: Tensor, q: list[Tensor]) -> Tensor:
        """Compute B(v, q) = E_q[-E(v, h)] + H(q) <= log p(v) + log Z.  [n visible], [n width] each -> [n]"""
        layers = [v, *q]
        joined = [(up * (down @ w.T)).sum(1) for (down, up), w in zip(pairwise(layers), self.weights, strict=True)]
        biased = [(part * bias).sum(1) for part, bias in zip(q, self.biases[1:], strict=True)]
        energy = visible_energy(v, self.biases[0], gaussian=self.gaussian, copies=1) - sum((*joined, *biased))
        return sum(entropy(part) for part in q) - energy

    def machine(self) -> Machine:
        """Return the same model as an RBM: even layers are its visible units, odd layers its hidden units."""
        widths = [len(bias) for bias in self.biases]
        rows = [
            torch.cat([self._between(odd, even, widths) for even in range(0, len(widths), 2)], dim=1)
            for odd in range(1, len(widths), 2)
        ]
        even, odd = torch.cat(list(self.biases)[::2]), torch.cat(list(self.biases)[1::2])
        return Machine(torch.cat(rows), even, odd, self.gaussian)

    def _between(self, odd: int, even: int, widths: list[int]) -> Tensor:
        """Return the weights between an odd and an even layer.  [width of odd, width of even]"""
        if even == odd - 1:
            return self.weights[even]
        return self.weights[odd].T if even == odd + 1 else self.weights[0].new_zeros(widths[odd], widths[even])


@full_precision
def entropy(q: Tensor) -> Tensor:
    """Compute the entropy of independent units that are on with probability q.  [n width] -> [n] nats"""
    return -(torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q)).sum(dim=1)
