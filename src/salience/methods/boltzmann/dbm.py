"""DBM: train several layers of hidden units jointly; each layer depends on the layers below and above it.

Salakhutdinov & Hinton 2009, "Deep Boltzmann machines", https://proceedings.mlr.press/v5/salakhutdinov09a.html.
With h_0 = v, L hidden layers, and the best factorised approximation q of the posterior (mean field):

    E(v, h) = -sum_{l=1..L} h_l . W_l h_{l-1} - sum_{l=0..L} b_l . h_l     (normal v: |v - b_0|^2 / 2 for -b_0 . v)
    log p(v) >= B(v, q) - log Z,   B(v, q) = E_q[-E(v, h)] + H(q)
    q_l = sigmoid(W_l q_{l-1} + q_{l+1} W_{l+1} + b_l), alternating even and odd layers; each update increases B

    loss = -mean of B over the data - mean of F over the model's states

Every connection joins an even and an odd layer. The whole is therefore an RBM with the even layers on one side and the
odd layers on the other; F is its free energy. The states are persistent chains, which every process updates
identically. q receives no gradient.
Pre-training proceeds layer by layer. The first RBM has two copies of its input, and the last has two copies of its
hidden units; the copy replaces the neighbour layer that the unit has in the DBM. The weights of the RBMs in between are
halved. A layer's bias becomes the mean of its biases in the two RBMs, because the DBM's conditional is the geometric
mean of theirs.
The embedding is q of all hidden layers. The top layer alone loses positions, and the input cannot be reconstructed
from it.
Differs from the paper: AdamW; the number of mean-field updates is fixed (`passes`), so that items do not wait for each
other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods.boltzmann._machine import Machine, drawn, first_states, moved, shared_noise
from salience.methods.boltzmann._net import Net
from salience.methods.boltzmann._visible import (
    first_bias,
    gaussian_units,
    items_of,
    rebuilding_error,
    values_of,
    visible_input,
    visible_kind,
)
from salience.methods.boltzmann.rbm import contrastive_divergence
from salience.methods.contract import Auto, Context, settled
from salience.methods.staged import Stage, Staged
from salience.nets import Encoder, require_dense


class DBM(Staged):
    """Deep Boltzmann machine.

    hidden: number of units of each hidden layer
    depth: number of hidden layers; the representation contains all of them
    visible: type of the visible units: "bernoulli" suits images and categories, "gaussian" also numbers; default:
        bernoulli for grey images, else gaussian
    passes: number of mean-field passes
    steps: number of Gibbs sampling steps per training step
    chains: number of persistent chains
    """

    requires = ("vectors",)

    default_encoder = "mlp"
    learning_rate = 3e-3
    states: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden: Annotated[int, Ge(1)] = 256,
        depth: Annotated[int, Ge(2)] = 2,
        visible: Literal["bernoulli", "gaussian"] = Auto,
        passes: Annotated[int, Ge(1)] = 10,
        steps: Annotated[int, Ge(1)] = 5,
        chains: Annotated[int, Ge(1)] = 64,
    ):
        super().__init__(encoder)
        self.hidden = hidden
        self.depth = depth
        self.visible = visible
        self.passes = passes
        self.steps = steps
        self.chains = chains
        self.lower_biases = nn.ParameterList(torch.zeros(hidden) for _ in range(depth - 1))  # of h_l in RBM l + 1
        self.register_buffer("states", first_states(chains, hidden * ((depth + 1) // 2)))
        self._fresh: tuple[slice, Tensor] | None = None  # of the current step: indices and values of new states

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        require_dense(context.encoder, "dbm")
        options = settled(options, visible=visible_kind(context.spec, options.get("visible", Auto)))
        kind, depth, hidden = options["visible"], options.get("depth", 2), options.get("hidden", 256)
        net = Net([context.width] + [hidden] * depth, gaussian_units(context.spec, kind), options.get("passes", 10))
        net.biases[0].data = first_bias(context.spec, kind)
        return cls(Encoder(visible_input(context.spec, kind), net, hidden * depth), **options)

    @property
    def net(self) -> Net:
        return self.encoder.body  # type: ignore[return-value]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Return the stages. Joint training takes as many steps as the pre-training of all layers."""
        return (*(Stage(f"layer {layer + 1}") for layer in range(self.depth)), Stage("together", share=self.depth))

    def stage_loss(self, stage: int, batch: Batch, at: Progress) -> dict[str, Tensor]:
        v = self.values(batch)
        if stage == self.depth:
            return self.joint_loss(v, at)
        machine = self.layer(stage)
        return {"loss": contrastive_divergence(machine.visible_copies * self.below(v, stage), machine, steps=1)}

    def values(self, batch: Batch) -> Tensor:
        """Convert raw items to visible units.  -> [n visible]"""
        return values_of(batch, self.encoder.input, self.visible, self.states.dtype)

    def layer(self, number: int) -> Machine:
        """Return the RBM that pre-trains a layer. The first has two visible copies, the last has two hidden copies."""
        net, last = self.net, number == self.depth - 1
        lower = self.lower_biases[number - 1] if number else net.biases[0]
        return Machine(
            net.weights[number], lower, net.biases[number + 1], 0 if number else net.gaussian,
            visible_copies=1 if number else 2, hidden_copies=2 if last else 1,
        )  # fmt: skip

    @torch.no_grad()
    def below(self, v: Tensor, number: int) -> Tensor:
        """Compute the input of a layer: the probabilities of the layer below.  [n visible] -> [n width]"""
        for lower in range(number):
            machine = self.layer(lower)
            v = machine.hidden(machine.visible_copies * v)
        return v

    def begin(self, stage: int) -> None:
        """Combine the pre-trained RBMs before joint training."""
        if stage < self.depth:
            return
        for weight in list(self.net.weights)[1:-1]:
            weight.mul_(0.5)
        for bias, lower in zip(list(self.net.biases)[1:-1], self.lower_biases, strict=True):
            bias.lerp_(lower, 0.5)

    def joint_loss(self, v: Tensor, at: Progress) -> dict[str, Tensor]:
        machine, noise = self.net.machine(), shared_noise(at, v.device)
        which, frozen = moved(self.chains, len(v), at), machine.detached()
        with torch.no_grad():
            q = self.net.mean_field(v)
            model = frozen.gibbs(self.states[which], self.steps, noise)
        self._fresh = which, drawn(frozen.hidden(model), generator=noise)
        bound, energy = self.net.bound(v, q).mean(), machine.free_energy(model).mean()
        return {"loss": -bound - energy, "bound": bound}

    def after_step(self, at: Progress) -> None:
        if self._fresh is not None:
            which, states = self._fresh
            self.states[which] = states
            self._fresh = None

    def yardstick(self, batch: Batch, at: Progress) -> Tensor:
        """Compute the reconstruction error from q_1, because the losses are not comparable between stages or steps."""
        v = self.values(batch)
        return rebuilding_error(self.visible_of(self.encoder.body(v)), v, kind=self.visible)

    def log_likelihood(self, batch: Batch) -> Tensor:
        """Return B(v, q) <= log p(v) + log Z, [n] nats. It compares items, because log Z is the same for all."""
        v = self.values(batch)
        return self.net.bound(v, self.net.mean_field(v))

    def visible_of(self, codes: Tensor) -> Tensor:
        """Compute the mean of p(v | h_1).  [n depth·hidden] -> [n visible]"""
        return self.layer(0).visible(codes[:, : self.hidden])

    def decode(self, codes: Tensor) -> Tensor:
        """Return the mean of p(v | h_1); v depends on h_1 only.  [n depth·hidden] -> items on the unit scale"""
        return items_of(self.visible_of(codes), self.encoder.input, self.visible)

    @torch.no_grad()
    def sample(self, n: int, *, steps: int = 200) -> Tensor:
        """Generate items [n ...]: the mean of p(v | h_1) after `steps` Gibbs steps from the persistent states."""
        machine = self.net.machine()
        states = self.states[torch.arange(n) % self.chains]
        return self.decode(drawn(machine.hidden(machine.gibbs(states, steps))))
