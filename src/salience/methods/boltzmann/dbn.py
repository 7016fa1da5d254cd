"""DBN: train a stack of RBMs, each on the hidden units of the one below; then unroll and fine-tune it as a network.

Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief nets",
https://doi.org/10.1162/neco.2006.18.7.1527; unrolled: Hinton & Salakhutdinov 2006. With RBMs p_1 .. p_L:

    p(v, h_1 .. h_L) = p_1(v | h_1) p_2(h_1 | h_2) .. p_L(h_{L-1}, h_L)
    log p(v) >= E_{q(h_1|v)} [log p(h_1) + log p_1(v | h_1)] + H(q(h_1|v)),   q = p_1(h_1 | v)

Layer 2 increases log p(h_1) in this bound. The bound does not change if layer 2 is initialised with the transposed
weights of layer 1; the same holds for higher layers. Each layer trains by CD-1 on the probabilities of the layer below,
which is frozen.
Then the network is fine-tuned: the encoder h_l = sigmoid(W_l h_{l-1} + c_l) and a decoder in reverse order with
separate weights to reconstruct the input, or the encoder and a softmax layer to predict the labels. Fine-tuning does
not change the stack, which generates samples.
Differs from the papers: AdamW; fine-tuning by backpropagation instead of the up-down algorithm; the code consists of
binary probabilities, not linear units; layers start with Glorot's weights, not with the transposed weights of layer 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.methods.boltzmann._machine import Layer, Machine, drawn
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
from salience.methods.fine_tuning import label_loss, withheld_by
from salience.methods.staged import Stage, Staged
from salience.nets import Encoder, require_dense

GENTLE = 1 / 3  # factor on the learning rate during fine-tuning, which preserves the pre-trained layers


class DBN(Staged):
    """Deep belief network.

    hidden: number of units of a layer
    depth: number of layers, including the top layer
    dim: number of units of the top layer, the width of the representation
    visible: type of the visible units: "bernoulli" suits images and categories, "gaussian" also numbers; default:
        bernoulli for grey images, else gaussian
    fine_tune: objective of fine-tuning the unrolled network: "rebuild" reconstructs the input, "labels" predicts the
        class, "none" skips fine-tuning; default: labels if training has labels, else rebuild
    """

    requires = ("vectors",)

    default_encoder = "mlp"
    learning_rate = 3e-3

    def __init__(
        self,
        encoder: Encoder,
        layers: Iterable[Layer],
        decoder: nn.Sequential,
        classifier: nn.Linear | None,
        *,
        hidden: Annotated[int, Ge(1)] = 256,
        depth: Annotated[int, Ge(1)] = 2,
        dim: Annotated[int, Ge(1)] = 256,
        visible: Literal["bernoulli", "gaussian"] = Auto,
        fine_tune: Literal["rebuild", "labels", "none"] = Auto,
    ):
        super().__init__(encoder.requires_grad_(fine_tune != "none"))
        self.layers = nn.ModuleList(layers)
        self.decoder = decoder.requires_grad_(fine_tune == "rebuild")
        self.classifier = classifier
        self.hidden = hidden
        self.depth = depth
        self.dim = dim
        self.visible = visible
        self.fine_tune = fine_tune
        for layer in range(depth):
            self.unroll(layer)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        require_dense(context.encoder, "dbn")
        kind = visible_kind(context.spec, options.get("visible", Auto))
        options = settled(options, visible=kind, fine_tune="labels" if context.classes else "rebuild")
        if options["fine_tune"] == "labels" and not context.classes:
            raise UserError("fine_tune: this fit does not use labels; fit with use_labels=True")
        inner = [options.get("hidden", 256)] * (options.get("depth", 2) - 1)
        widths = [context.width, *inner, options.get("dim", 256)]
        layers = [Layer(below, above) for below, above in pairwise(widths)]
        layers[0].visible_bias.data = first_bias(context.spec, kind)
        up = nn.Sequential(nn.Flatten(), *_sigmoids(widths))
        down = nn.Sequential(*_sigmoids(widths[::-1])[: -1 if kind == "gaussian" else None])
        classifier = nn.Linear(widths[-1], context.classes) if options["fine_tune"] == "labels" else None
        return cls(Encoder(visible_input(context.spec, kind), up, widths[-1]), layers, down, classifier, **options)

    @property
    def stages(self) -> tuple[Stage, ...]:
        greedy = tuple(Stage(f"layer {layer + 1}") for layer in range(self.depth))
        return greedy if self.fine_tune == "none" else (*greedy, Stage("fine-tuning"))

    def stage_loss(self, stage: int, batch: Batch, at: Progress) -> dict[str, Tensor]:
        values = self.values(batch)
        if stage < self.depth:
            return {"loss": contrastive_divergence(self.below(values, stage), self.machine(stage), steps=1)}
        codes = self.encoder.body(values)
        if self.classifier is None:
            return {"loss": rebuilding_error(self.decoder(codes), values, kind=self.visible)}
        if batch.label is None:
            raise UserError("fine_tune: the batches have no labels; fit with use_labels=True")
        return {"loss": label_loss(self.classifier(codes), batch.label)}

    def values(self, batch: Batch) -> Tensor:
        """Convert raw items to visible units.  -> [n visible]"""
        return values_of(batch, self.encoder.input, self.visible, self.machine(0).weight.dtype)

    def machine(self, layer: int) -> Machine:
        """Return the RBM of this layer."""
        gaussian = 0 if layer else gaussian_units(self.encoder.input.spec, self.visible)
        return self.layers[layer].machine(gaussian=gaussian)  # type: ignore[operator]

    @torch.no_grad()
    def below(self, values: Tensor, layer: int) -> Tensor:
        """Compute the input of this layer: the probabilities of the layer below.  [n visible] -> [n width]"""
        for lower in range(layer):
            values = self.machine(lower).hidden(values)
        return values

    def after_step(self, at: Progress) -> None:
        stage, _ = self.stage(at)
        if stage < self.depth:
            self.unroll(stage)

    @torch.no_grad()
    def unroll(self, layer: int) -> None:
        """Copy this layer to the encoder and the decoder, which are trained separately only in fine-tuning."""
        learnt: Layer = self.layers[layer]  # type: ignore[assignment]
        up, down = list(_linears(self.encoder.body))[layer], list(_linears(self.decoder))[-1 - layer]
        up.weight.copy_(learnt.weight)
        up.bias.copy_(learnt.hidden_bias)
        down.weight.copy_(learnt.weight.T)
        down.bias.copy_(learnt.visible_bias)

    def rate_factor(self, step: int, total: int) -> float:
        stage, _ = self.stage(Progress(step, total))
        return super().rate_factor(step, total) * (GENTLE if stage == self.depth else 1.0)

    def yardstick(self, batch: Batch, at: Progress) -> Tensor | None:
        """Compute the reconstruction error, in any stage; None while labels are trained, which may increase it."""
        if self.fine_tune == "labels" and self.stage(at)[0] == self.depth:
            return None
        values = self.values(batch)
        return rebuilding_error(self.decoder(self.encoder.body(values)), values, kind=self.visible)

    @property
    def withheld(self) -> Mapping[str, str]:
        return withheld_by(self.fine_tune)

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct items with the decoder, which equals the stack if it is not fine-tuned.  [n dim] -> unit scale"""
        return items_of(self.decoder(codes), self.encoder.input, self.visible)

    @torch.no_grad()
    def sample(self, n: int, *, steps: int = 1000) -> Tensor:
        """Generate items [n ...]: `steps` Gibbs steps between the top layers, then down to the mean of p(v | h_1)."""
        *lower, top = (self.machine(layer) for layer in range(self.depth))
        state = drawn(top.hidden_bias.new_full((n, self.dim), 0.5))
        state = drawn(top.hidden(top.gibbs(state, steps)))
        for machine in (top, *lower[:0:-1]) if lower else ():
            state = machine.draw_visible(machine.visible(state))
        return items_of(self.machine(0).visible(state), self.encoder.input, self.visible)

    def predict(self, batch: Batch) -> Tensor:
        """Return class probabilities [n classes]; requires fine-tuning with labels."""
        assert self.classifier is not None
        return self.classifier(self.embed(batch)).softmax(dim=1)


def _sigmoids(widths: list[int]) -> list[nn.Module]:
    """Build linear layers of these widths, each followed by a sigmoid."""
    return [part for below, above in pairwise(widths) for part in (nn.Linear(below, above), nn.Sigmoid())]


def _linears(network: nn.Module) -> Iterator[nn.Linear]:
    return (part for part in network.children() if isinstance(part, nn.Linear))
