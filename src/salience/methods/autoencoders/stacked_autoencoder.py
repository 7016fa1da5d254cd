"""Stacked autoencoder: train dense layers one by one to denoise the output of the layer below, then fine-tune them all.

Bengio et al. 2007, "Greedy Layer-Wise Training of Deep Networks",
https://papers.nips.cc/paper/3048-greedy-layer-wise-training-of-deep-networks; denoising: Vincent et al. 2010,
https://www.jmlr.org/papers/v11/vincent10a.html. With h_0 = x, h_l = f_l(h_{l-1}), in stage l = 1..depth

    minimise over f_l, g_l  mean over items and values of (h_{l-1} - g_l(f_l(masked(h_{l-1}))))^2

while the layers below are frozen. Then, over all layers at once,

    rebuild   mean over items and values of (x - g_1(relu(g_2(... relu(g_depth(h_depth))))))^2
    labels    -log softmax(W h_depth + b)[label], mean over the items with a label

Differs from the papers: f_l has rectified linear units; g_l is linear, and its weights are not tied to those of f_l;
squared error; AdamW; the length of a stage is a number of steps, not of epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.methods.autoencoders.autoencoder import reconstruction_error
from salience.methods.contract import Auto, Context, settled
from salience.methods.fine_tuning import label_loss, withheld_by
from salience.methods.staged import Stage, Staged
from salience.nets import Encoder, make_decoder, require_dense
from salience.views.corruption import masking
from salience.views.random import Keys
from salience.warning_signs import Sign


class StackedAutoencoder(Staged):
    """Stacked autoencoder.

    dim: width of the top layer, the code
    hidden: width of the layers below the top layer
    depth: number of layers, including the top layer
    level: share of a layer's inputs that are masked while the layer is trained
    fine_tune: objective of the last half of all steps, in which all layers train together: "rebuild" reconstructs the
        item, "labels" predicts its class, "none" skips fine-tuning; default: labels if there are any, else rebuild
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
    constrains_codes = "--level"

    default_encoder = "mlp"
    learning_rate = 1e-3

    def __init__(
        self,
        encoder: Encoder,
        decoders: nn.ModuleList,
        head: nn.Linear | None = None,
        *,
        dim: Annotated[int, Ge(1)] = 256,
        hidden: Annotated[int, Ge(1)] = 512,
        depth: Annotated[int, Ge(1)] = 3,
        level: Annotated[float, Ge(0), Le(1)] = 0.25,
        fine_tune: Literal["rebuild", "labels", "none"] = Auto,
    ):
        super().__init__(encoder)
        self.decoders = decoders
        self.head = head
        self.dim = dim
        self.hidden = hidden
        self.depth = depth
        self.level = level
        self.fine_tune = fine_tune

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        require_dense(context.encoder, "stacked_autoencoder")
        options = settled(options, fine_tune="labels" if context.classes else "rebuild")
        labelled = options["fine_tune"] == "labels"
        if labelled and not context.classes:
            raise UserError(
                "fine_tune: this fit does not use labels; fit with use_labels=True, or use fine_tune=rebuild"
            )
        dim, hidden, depth = options.get("dim", 256), options.get("hidden", 512), options.get("depth", 3)
        widths = (context.width, *[hidden] * (depth - 1), dim)
        layers = [nn.Sequential(nn.Flatten(), nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
        lowest = make_decoder("linear", context.spec, widths[1])
        decoders = nn.ModuleList([lowest, *(nn.Linear(b, a) for a, b in pairwise(widths[1:]))])
        encoder = Encoder(context.make_input(), nn.Sequential(*layers), dim)
        return cls(encoder, decoders, nn.Linear(dim, context.classes) if labelled else None, **options)

    @property
    def stages(self) -> tuple[Stage, ...]:
        layers = tuple(Stage(f"layer {level + 1}") for level in range(self.depth))
        return layers if self.fine_tune == "none" else (*layers, Stage("fine-tuning", share=self.depth))

    def stage_loss(self, stage: int, batch: Batch, at: Progress) -> dict[str, Tensor]:
        if stage == self.depth:
            return {"loss": self._together(batch)}
        with torch.no_grad():
            below = self.encoder.input.unit(batch.x)
            for level in range(stage):
                below = self.layer(level, below)
        masked = masking(below, Keys.of(at.seed, at.epoch, batch.index).fold("corruption"), self.level)
        return {"loss": reconstruction_error(self.decoders[stage](self.layer(stage, masked)), below)}

    def layer(self, level: int, h: Tensor) -> Tensor:
        """Apply one layer of the stack.  level 0: unit-scale items [n ...], else [n hidden] -> [n hidden] or [n dim]"""
        assert isinstance(self.encoder.body, nn.Sequential)
        return self.encoder.body[level](self.encoder.input(h) if level == 0 else h)

    def yardstick(self, batch: Batch, at: Progress) -> Tensor | None:
        """Compute the loss of all layers together, which is comparable between stages; the loss of one layer is not."""
        return self._together(batch)

    def _together(self, batch: Batch) -> Tensor:
        original = self.encoder.input.unit(batch.x)
        code = self.encoder(original)
        if self.head is None:
            return reconstruction_error(self.decode(code), original)
        if batch.label is None:
            raise UserError("fine_tune: the batches have no labels; fit with use_labels=True")
        return label_loss(self.head(code), batch.label)

    @property
    def withheld(self) -> Mapping[str, str]:
        return withheld_by(self.fine_tune)

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct items from codes.  [n d] -> [n ...] on the unit scale"""
        for decoder in reversed(self.decoders[1:]):
            codes = F.relu(decoder(codes))
        return self.decoders[0](codes)

    def predict(self, batch: Batch) -> Tensor:
        """Return class probabilities [n classes]; requires fine-tuning with labels."""
        assert self.head is not None
        return self.head(self.embed(batch)).float().softmax(dim=1)

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """dead_units: share of the units of the code that are active for no item."""
        return {"dead_units": (self.embed(batch) <= 0).all(dim=0).float().mean()}
