"""The contract of a method: a loss over batches, or a closed form over rows; both embed.

A concrete method is final, lives in one file, and keeps every hyper-parameter of its constructor as an attribute of the
same name. What else it can do is said by the methods it defines (unit scale: images on [0, 1], tables standardised):

    decode(codes [n d])       -> unit-scale items [n ...]        predict(batch)  -> class probabilities [n classes]
    sample(n)                 -> new unit-scale items [n ...]    assign(batch)   -> the cluster of each item, [n] int64
    log_likelihood(batch)     -> [n] nats, up to a constant      enlarge(x [n c h w])  -> larger images, unit scale
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec, Protocol, Self, TypeVar

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.catalogue import AUTO
from salience.methods.adamw import AdamW
from salience.modalities import Spec
from salience.nets import Encoder, Input, input_width, make_encoder, make_input
from salience.views import Views, default_policy, make_views
from salience.warning_signs import Ordinary, Sign

P = ParamSpec("P")
R = TypeVar("R")
HALF = (torch.float16, torch.bfloat16)
Auto: Any = AUTO  # the default of a hyper-parameter that `build` finds from the data and what else is chosen
WARM_UP = 0.1  # share of the steps over which the learning rate rises


@dataclass(frozen=True)
class Context:
    """What a method may know of its task when its modules are built.

    rows: how many there are to train on; encoder, views: names, None for the default of the data
    classes: how many the labels name that the training may see; 0 without labels
    fetch: whether published weights may be fetched; a run that is loaded brings its own
    load_encoder: run folder -> the name of its network, and its encoder; None where there are no runs to load
    """

    spec: Spec
    rows: int
    encoder: str | None = None
    views: str | None = None
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
        named = None if policy is None else self.spec.modality.in_variant(policy, self.spec)
        return make_views(self.views or named, self.spec, roles, local_side)


@dataclass(frozen=True)
class Plan:
    """The optimisation `fit` decided on. `total` steps, counted once before the first."""

    total: int
    steps_per_epoch: int
    learning_rate: float
    weight_decay: float = 1e-4
    seed: int = 0


class Method(L.LightningModule, ABC):
    """Learns by gradient from batches. Also trains under a user's own Lightning Trainer.

    needs: what a kind of data must offer, beyond views, an encoder and a decoder: "colours", "sizes"
    needs_labels: the loss reads them, so `fit` asks for data that has some
    sync_batchnorm: processes on GPUs share their batch statistics
    partial: a step may train a part of the parameters and leave the others without gradients
    judged_by_neighbours: items of a class should come close to each other, as its health is judged
    signs, ordinary, keeps_items_apart, constrains_codes: of its health, see `salience.warning_signs.Declared`
    learning_rate: its peak at a batch of 256, None for what suits the encoder;  betas: of Adam
    default_encoder: by name, None for what suits the data
    """

    needs: ClassVar[tuple[str, ...]] = ()
    needs_labels: ClassVar[bool] = False
    sync_batchnorm: ClassVar[bool] = True
    partial: ClassVar[bool] = False
    judged_by_neighbours: ClassVar[bool] = True
    signs: ClassVar[tuple[Sign, ...]] = ()
    ordinary: ClassVar[tuple[Ordinary, ...]] = ()
    keeps_items_apart: ClassVar[str] = ""
    constrains_codes: ClassVar[str] = ""
    learning_rate: ClassVar[float | None] = None
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    default_encoder: ClassVar[str | None] = None

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.plan: Plan | None = None

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

    def before_step(self, at: Progress) -> None:
        """Runs before the loss of a step: frozen prototypes, schedules."""

    def after_step(self, at: Progress) -> None:
        """Runs when the optimiser has stepped, before anything can be saved: EMA teachers, queues."""

    def losses(self, batch: Batch, at: Progress) -> Iterator[Tensor]:
        """What the optimiser steps on, one after the other, with one batch: [] each."""
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

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning's note of where it is, some forty times a step: no module, no tensor
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def progress(self) -> Progress:
        trainer, plan = self.trainer, self.plan
        step, rank, world = trainer.global_step, trainer.global_rank, trainer.world_size
        if plan is None:
            return Progress(step, int(trainer.estimated_stepping_batches), trainer.current_epoch, 0, rank, world)
        return Progress(step, plan.total, step // plan.steps_per_epoch, plan.seed, rank, world)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        at = self.progress()
        reseed(at)
        self.before_step(at)
        self._decay(at)
        terms = self.loss(batch, at)
        if (at.step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._record(terms, at)
        return terms["loss"]

    def _decay(self, at: Progress) -> None:
        decay = self.weight_decay(at)
        if decay is None:
            return
        for group in self.trainer.optimizers[0].param_groups:
            if any(parameter.ndim > 1 for parameter in group["params"]):  # biases and normalisation have none
                group["weight_decay"] = decay

    def _record(self, terms: Mapping[str, Tensor], at: Progress) -> None:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        values = {name: term.detach() for name, term in terms.items()}
        self.log_dict({"step": float(at.step + 1), **values, "learning_rate": rate}, sync_dist=at.world > 1)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        at = self.progress()
        super().optimizer_step(*args, **kwargs)
        self.after_step(at)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device, non_blocking=True)

    def configure_optimizers(self) -> Any:
        """AdamW, with the learning rate of `rate_factor`."""
        plan = self.plan or Plan(int(self.trainer.estimated_stepping_batches), 1, 1e-3)
        optimiser = AdamW(
            list(self.param_groups()), plan.learning_rate, self.betas, weight_decay=plan.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: self.rate_factor(step, plan.total))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class RowReader(Protocol):
    """Passes over the rows of a data set, as a closed form needs them: flat, on the unit scale."""

    rows: int
    width: int

    def chunks(self) -> Iterator[np.ndarray]:
        """[m width] each, in order; a new pass every time."""

    def everything(self) -> np.ndarray | None:
        """[rows width] at once, None where that would not fit in memory."""

    def sample(self, count: int, seed: int) -> np.ndarray:
        """[min(count, rows) width]: rows drawn at random, each at most once."""


class ClosedForm(nn.Module, ABC):
    """Is solved over rows, in a few passes. What it learns are buffers, allocated by its constructor."""

    needs: ClassVar[tuple[str, ...]] = ()

    input: Input

    def __init__(self, input: Input):
        super().__init__()
        self.input = input
        self.row_width = input_width(input.spec)
        self.row_dtype = torch.float64 if input.spec.modality.precise(input.spec) else torch.float32

    @classmethod
    @abstractmethod
    def build(cls, context: Context, **options: Any) -> Self:
        """`options` are the constructor's hyper-parameters. Defaults are clamped to the data."""

    @abstractmethod
    def fit_rows(self, reader: RowReader, *, seed: int) -> None: ...

    @abstractmethod
    def embed_rows(self, rows: Tensor) -> Tensor:
        """[n width] on the unit scale -> [n d]."""

    @property
    @abstractmethod
    def width(self) -> int:
        """d, the width of the representation."""

    def flat(self, batch: Batch) -> Tensor:
        """Raw items -> [n width] on the unit scale."""
        spec = self.input.spec
        return spec.modality.flat(batch.x, spec, self.row_dtype, batch.mask)

    def shaped(self, rows: Tensor) -> Tensor:
        """[n width] -> unit-scale items [n ...]."""
        return self.input.spec.modality.shaped(rows, self.input.spec)

    def embed(self, batch: Batch) -> Tensor:
        return self.embed_rows(self.flat(batch))


def full_precision(loss: Callable[P, R]) -> Callable[P, R]:
    """Computes a loss in float32 at least, whatever the networks ran in: its exponentials need it."""

    @functools.wraps(loss)
    def exact(*args: P.args, **kwargs: P.kwargs) -> R:
        raised = [value.float() if isinstance(value, Tensor) and value.dtype in HALF else value for value in args]
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        with torch.autocast(device if device != "meta" else "cpu", enabled=False):
            return loss(*raised, **kwargs)  # type: ignore[arg-type]

    return exact


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


def cosine(start: float, end: float, fraction: float) -> float:
    """From start to end along half a cosine; `fraction` 1 is the end."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def warm_up_cosine(step: int, total: int) -> float:
    """Factor on the learning rate: linear from 1/w to 1 over the first w = 10 % of steps, then a half cosine to 0."""
    rise = max(1, round(WARM_UP * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
