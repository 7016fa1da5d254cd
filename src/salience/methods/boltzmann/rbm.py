"""RBM: a generative model of visible units with hidden units that capture their dependencies.

Smolensky 1986; contrastive divergence: Hinton 2002, https://doi.org/10.1162/089976602760128018; persistent chains:
Tieleman 2008. With binary h, and v binary or normal with variance 1:

    p(v, h) = exp(-E(v, h)) / Z,    E(v, h) = -b . v - c . h - h . W v      (normal v: |v - b|^2 / 2 for -b . v)
    F(v) = -log sum_h exp(-E(v, h)) = -b . v - sum_j softplus((W v + c)_j)
    -d log p(v) / d theta = dF(v) / d theta - E_{v' ~ p} dF(v') / d theta

    loss = mean of F over the data - mean of F over the model's states

The model's states come from `steps` steps of Gibbs sampling, which start from the data (CD) or continue persistent
chains (PCD). They receive no gradient. The embedding is p(h = 1 | v). The pixels of grey images are probabilities.
Differs from the papers: AdamW; a training step updates at most as many chains as it has rows, in turn. Each process
updates all of these with the same noise, so that they stay equal without communication.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods.boltzmann._machine import Machine, drawn, first_states, moved, shared_noise
from salience.methods.boltzmann._visible import (
    first_bias,
    gaussian_units,
    items_of,
    values_of,
    visible_input,
    visible_kind,
)
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.nets import Encoder, require_dense
from salience.views.random import Keys
from salience.warning_signs import Sign

FIRST_STD = 0.01  # of the initial weights: Hinton 2012, "A practical guide to training restricted Boltzmann machines"
SURE = 0.01  # a hidden unit is dead if, for all items, it is on (or off) with less than this probability


def contrastive_loss(data: Tensor, model: Tensor, machine: Machine) -> tuple[Tensor, Tensor]:
    """Compute the mean free energy of data minus that of the model's states, and p(h = 1 | v) of these states.

    data: [n visible];  model: [m visible] -> [], [m hidden]
    """
    n, m = len(data), len(model)
    both = torch.cat([data, model])
    signs = both.new_full((n + m,), 1 / n)
    signs[n:] = -1 / m
    inputs = machine.into_hidden(both)  # one product for both, in each direction
    loss = (signs * machine.free_energy(both, inputs)).sum()  # a dot product would be rounded by autocast
    return loss, inputs[n:].detach().to(machine.weight.dtype).sigmoid()


def contrastive_divergence(data: Tensor, machine: Machine, steps: int) -> Tensor:
    """Compute the loss of CD-k with k = `steps`.  [n visible] -> []"""
    with torch.no_grad():
        frozen = machine.detached()
        model = frozen.gibbs(frozen.draw_hidden(frozen.hidden(data)), steps)
    return contrastive_loss(data, model, machine)[0]


@full_precision
def pseudo_likelihood(v: Tensor, unit: Tensor, machine: Machine) -> Tensor:
    """Estimate the sum over units of log p(v_i | the others) from one unit per item, as scikit-learn does.

    v: [n visible], binary;  unit: [n] int64, index of the unit -> [n] nats
    """
    flipped = v.scatter(1, unit[:, None], 1 - v.gather(1, unit[:, None]))
    return v.shape[1] * F.logsigmoid(machine.free_energy(flipped) - machine.free_energy(v))


@full_precision
def score_matching(v: Tensor, machine: Machine) -> Tensor:
    """Compute sum_i (psi_i^2 / 2 + d psi_i / d v_i) with psi = -dF(v) / dv, for normal units.

    Hyvarinen 2005: its mean is lowest if the model equals the data's distribution; Z is not needed.  [n visible] -> [n]
    """
    p = machine.hidden(v)
    psi = machine.visible(p) - v
    return psi.square().sum(dim=1) / 2 + (p * (1 - p)) @ machine.weight.square().sum(dim=1) - v.shape[1]


class RBM(Method):
    """Restricted Boltzmann machine.

    hidden: number of hidden units, the width of the representation
    visible: type of the visible units: "bernoulli" suits images and categories, "gaussian" also numbers; default:
        bernoulli for grey images, else gaussian
    steps: number of Gibbs sampling steps per training step
    persistent: whether the model's chains continue from step to step (PCD) or start from the data (CD)
    chains: number of persistent chains
    """

    requires = ("vectors",)
    signs = (
        Sign(
            ("dead_units",),
            "most units are dead",
            "{dead_units:.0%} of the code's units are never active",
            "a lower --learning-rate",
            "units",
            above=0.5,
        ),
    )

    default_encoder = "mlp"
    learning_rate = 1e-2
    betas = (0.0, 0.999)  # persistent chains cannot follow weights with momentum
    states: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden: Annotated[int, Ge(1)] = 256,
        visible: Literal["bernoulli", "gaussian"] = Auto,
        steps: Annotated[int, Ge(1)] = 1,
        persistent: bool = True,
        chains: Annotated[int, Ge(1)] = 64,
    ):
        super().__init__(encoder)
        self.hidden = hidden
        self.visible = visible
        self.steps = steps
        self.persistent = persistent
        self.chains = chains
        self.visible_bias = nn.Parameter(first_bias(encoder.input.spec, visible))
        self.register_buffer("states", first_states(chains if persistent else 0, hidden))
        self._fresh: tuple[slice, Tensor] | None = None  # of the current step: indices and values of new states

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        require_dense(context.encoder, "rbm")
        options = settled(options, visible=visible_kind(context.spec, options.get("visible", Auto)))
        hidden = options.get("hidden", 256)
        linear = nn.Linear(context.width, hidden)
        nn.init.normal_(linear.weight, std=FIRST_STD)
        nn.init.zeros_(linear.bias)
        body = nn.Sequential(nn.Flatten(), linear, nn.Sigmoid())
        return cls(Encoder(visible_input(context.spec, options["visible"]), body, hidden), **options)

    @property
    def linear(self) -> nn.Linear:
        """The layer with W and c."""
        return self.encoder.body[1]  # type: ignore[index]

    def machine(self) -> Machine:
        linear = self.linear
        gaussian = gaussian_units(self.encoder.input.spec, self.visible)
        return Machine(linear.weight, self.visible_bias, linear.bias, gaussian)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        data, machine = self.values(batch), self.machine()
        if not self.persistent:
            return {"loss": contrastive_divergence(data, machine, self.steps)}
        which, noise = moved(self.chains, len(data), at), shared_noise(at, data.device)
        with torch.no_grad():
            model = machine.detached().gibbs(self.states[which], self.steps, noise)
        loss, p = contrastive_loss(data, model, machine)
        self._fresh = which, drawn(p, generator=noise)
        return {"loss": loss}

    def after_step(self, at: Progress) -> None:
        if self._fresh is not None:
            which, states = self._fresh
            self.states[which] = states
            self._fresh = None

    def values(self, batch: Batch) -> Tensor:
        """Convert raw items to visible units.  -> [n visible]"""
        return values_of(batch, self.encoder.input, self.visible, self.visible_bias.dtype)

    def yardstick(self, batch: Batch, at: Progress) -> Tensor:
        """Compute the negative pseudo-likelihood or the score matching loss, because the training loss stays near 0."""
        if self.visible == "gaussian":
            return score_matching(self.values(batch), self.machine()).mean() / self.visible_bias.numel()
        return -self.pseudo_likelihood(batch, at).mean()

    def pseudo_likelihood(self, batch: Batch, at: Progress | None = None) -> Tensor:
        """Estimate the pseudo-likelihood of binary units, [n] nats; seed, epoch and row select the flipped units."""
        at = at or Progress()
        unit = Keys.of(at.seed, at.epoch, batch.index).fold("flip").choice(self.visible_bias.numel())
        return pseudo_likelihood(self.values(batch), unit, self.machine())

    def log_likelihood(self, batch: Batch) -> Tensor:
        """Return log p(v) + log Z = -F(v), [n] nats. It compares items, because log Z is the same for all."""
        return -self.machine().free_energy(self.values(batch))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the mean of p(v | h).  [n hidden] -> items on the unit scale"""
        return items_of(self.machine().visible(codes), self.encoder.input, self.visible)

    @torch.no_grad()
    def sample(self, n: int, *, steps: int = 200, mean: bool = True) -> Tensor:
        """Generate items [n ...] by `steps` Gibbs steps from the persistent states, or from random states.

        mean: return the mean of p(v | h) in the last step, which is smoother than a sample
        """
        machine, start = self.machine(), drawn(self.visible_bias.new_full((n, self.hidden), 0.5))
        if self.persistent:
            start = self.states[torch.arange(n) % self.chains]
        v = machine.gibbs(start, steps)
        return items_of(machine.visible(drawn(machine.hidden(v))) if mean else v, self.encoder.input, self.visible)

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """dead_units: share of hidden units that are on for all items, or off for all items."""
        p = self.embed(batch)
        return {"dead_units": ((p.amax(dim=0) < SURE) | (p.amin(dim=0) > 1 - SURE)).float().mean()}
