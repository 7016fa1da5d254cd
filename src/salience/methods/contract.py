"""The contract of a method that learns from batches: a loss, and what embeds.

A concrete method is final, lives in one file, and keeps every hyper-parameter of its constructor as an attribute of the
same name. What else it can do is said by the methods it defines (unit scale: images on [0, 1], tables standardised):

    decode(codes [n d])       -> unit-scale items [n ...]        predict(batch)  -> class probabilities [n classes]
    sample(n)                 -> new unit-scale items [n ...]    assign(batch)   -> the cluster of each item, [n] int64
    log_likelihood(batch)     -> [n] nats, up to a constant      enlarge(x [n c h w])  -> larger images, unit scale
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods.schedules import warm_up_cosine
from salience.modalities import Spec
from salience.nets import Encoder, Input, input_width, make_encoder, make_input
from salience.units import AUTO
from salience.views import Views, default_policy, make_views
from salience.warning_signs import Ordinary, Sign

Auto: Any = AUTO  # the default of a hyper-parameter that `build` finds from the data and what else is chosen


@dataclass(frozen=True)
class Context:
    """What a method may know of its task when its modules are built.

    rows: how many there are to train on
    encoder, views: a name, None for the default of the data, or what a user gives: a module, a function
    classes: how many the labels name that the training may see; 0 without labels
    fetch: whether published weights may be fetched; a run that is loaded brings its own
    load_encoder: run folder -> the name of its network, and its encoder; None where there are no runs to load
    """

    spec: Spec
    rows: int
    encoder: Any = None
    views: Any = None
    fetch: bool = True
    classes: int = 0
    load_encoder: Callable[[str], tuple[str, Encoder]] | None = None

    @property
    def width(self) -> int:
        """Unit-scale values of one item."""
        return input_width(self.spec)

    def make_input(self) -> Input:
        return make_input(self.spec)

    def make_encoder(self, *, dim: int | None = None) -> Encoder:
        return make_encoder(self.encoder, self.spec, dim=dim, fetch=self.fetch)

    def local_crops(self, encoder: Encoder) -> int:
        """Small crops of an item that a method compares, unless told: four; none where they would be too small, or of
        glyphs, whose parts may be other glyphs."""
        views = self.views or default_policy(self.spec)[0]
        return 4 if encoder.local_side and views != "glyphs" else 0

    def make_views(
        self, roles: Mapping[str, int], *, local_side: int | None = None, policy: str | None = None
    ) -> Views:
        """policy: what the method compares unless the user names another; None for what suits the data"""
        named = None if policy is None else self.spec.modality.policy_variant(policy, self.spec)
        return make_views(self.views or named, self.spec, roles, local_side)


class Method(nn.Module, ABC):
    """Learns by gradient from batches. A step of a training calls, in this order,

        before_step(at)
        for each turn, within playing(turn):  loss(batch, at), the backward pass, before_update(at), the optimiser
        after_step(at)

    `salience fit` does so, `LightningMethod` under a user's own Trainer, and any loop of a user's own.

    requires: what a kind of data must offer, beyond views, an encoder and a decoder: "colours", "sizes"
    at_most: options that the data limit, by what, and the meaning of a value (see catalogue.Entry)
    needs_labels: the loss reads them, so `fit` asks for data that has some
    sync_batchnorm: processes on GPUs share their batch statistics
    partial: a step may train a part of the parameters and leave the others without gradients
    turns: names of those who step with every batch, one after the other; a method without players has one turn
    judged_by_neighbours: items of a class should come close to each other, as its health is judged
    signs, ordinary, keeps_items_apart, constrains_codes: of its health, see `salience.warning_signs.Declared`
    learning_rate: its peak at a batch of 256, None for what suits the encoder;  betas: of Adam
    default_encoder: by name, None for what suits the data
    """

    requires: ClassVar[tuple[str, ...]] = ()
    at_most: ClassVar[tuple[tuple[str, tuple[str, ...], str], ...]] = ()
    needs_labels: ClassVar[bool] = False
    sync_batchnorm: ClassVar[bool] = True
    partial: ClassVar[bool] = False
    turns: ClassVar[tuple[str, ...]] = ("all",)
    judged_by_neighbours: ClassVar[bool] = True
    signs: ClassVar[tuple[Sign, ...]] = ()
    ordinary: ClassVar[tuple[Ordinary, ...]] = ()
    keeps_items_apart: ClassVar[str] = ""
    constrains_codes: ClassVar[str] = ""
    learning_rate: ClassVar[float | None] = None
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    default_encoder: ClassVar[str | None] = None
    rows_at_once = 256  # of a forward pass that embeds

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.shared_buffers: tuple[str, ...] = ()  # alike on all processes, so that none need send them

    @classmethod
    @abstractmethod
    def build(cls, context: Context, **options: Any) -> Self:
        """Makes the constructor's modules. `options`: its hyper-parameters; defaults are clamped to the data."""

    @abstractmethod
    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """`{"loss": []}` and named terms of it, each []."""

    def embed(self, batch: Batch) -> Tensor:
        """Raw items -> [n d]."""
        return self.encode(self.encoder.input.unit(batch.x), batch.mask)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Unit-scale items or views of them [n ...] -> [n d], the representation."""
        return self.encoder(x, mask)

    @property
    def width(self) -> int:
        """d, the width of the representation."""
        return self.encoder.dim

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """torch's name for `shared_buffers`, read where a method is wrapped for several processes."""
        return list(self.shared_buffers)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def before_step(self, at: Progress) -> None:
        """Runs before the loss of a step: frozen prototypes, schedules."""

    def before_update(self, at: Progress) -> None:
        """Runs when the gradients are there, before the optimiser steps: a layer that is frozen drops its own."""

    def after_step(self, at: Progress) -> None:
        """Runs when the optimiser has stepped, before anything can be saved: EMA teachers, queues."""

    def playing(self, turn: str) -> AbstractContextManager[None]:
        """Within, `loss` is that of this turn, and only what learns in it gets gradients."""
        return nullcontext()

    def losses(self, batch: Batch, at: Progress) -> Iterator[Tensor]:
        """What the optimiser steps on with one batch, [] for each turn. A turn ends when the next is asked for."""
        for turn in self.turns:
            with self.playing(turn):
                yield self.loss(batch, at)["loss"]

    def phases(self) -> tuple[tuple[float, Progress], ...]:
        """Kinds of steps a training has: their share of it, and a moment of each."""
        return ((1.0, Progress(total=100)),)

    def yardstick(self, batch: Batch, at: Progress) -> Tensor | None:
        """The loss that tells how the training goes, []; None where no loss does."""
        return self.loss(batch, at)["loss"]

    def rate_factor(self, step: int, total: int) -> float:
        """Of the learning rate's peak: it rises linearly, then falls to 0 along a cosine over all steps."""
        return warm_up_cosine(step, total)

    def weight_decay(self, at: Progress) -> float | None:
        """Of this step, where the paper has a schedule for it; None leaves it as the plan says."""
        return None

    def collapsed_loss(self, n: int) -> float | None:
        """The loss when every item has the same representation; None where that is no sign of it.

        n: items of a step, on all processes together
        """
        return None

    @property
    def withheld(self) -> Mapping[str, str]:
        """Functions of the method that this fit's options took away, such as "decode": why, and the remedy."""
        return {}

    def rebuilds(self, at: Progress) -> bool:
        """Whether codes can be decoded at this moment of the training."""
        return hasattr(self, "decode") and "decode" not in self.withheld

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """Signs of health that only this method has, from a probe batch: a teacher's distance, use of prototypes.

        Changes nothing. Each [].
        """
        return {}

    def param_groups(self) -> Iterable[dict[str, Any]]:
        """Weight decay for weights; none for biases and normalisation."""
        trained = [p for p in self.parameters() if p.requires_grad]
        yield {"params": [p for p in trained if p.ndim > 1]}
        yield {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}


def reseed(at: Progress) -> None:
    """What remains random inside networks depends on the step alone, so that a resumed run draws the same."""
    seed = ((at.seed * 1_000_003 + at.step) * 1_009 + at.rank) % 2**63
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes thirty times as long, for devices not in use
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def settled(options: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    """The options, with what was found in place of `Auto`."""
    return {**options, **{name: value for name, value in found.items() if options.get(name, Auto) == Auto}}
