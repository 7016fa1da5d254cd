"""A fitted method with its preprocessing and its provenance: load it, embed with it, and what else it can do.

Loading executes nothing from the run folder: YAML is read safely, weights are safetensors or, of an unfinished run, a
checkpoint of tensors and numbers.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from salience import catalogue
from salience.allocator import keep_freed_memory
from salience.batch import Batch
from salience.config import Config
from salience.data import Dataset, open_data
from salience.errors import Note, UserError, naming
from salience.fields.stored_items import rows_at_once
from salience.methods import ClosedForm, Context, Method, method_class
from salience.modalities import Spec
from salience.nets import Encoder
from salience.nets.make import DENSE
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.run import Run
from salience.run_weights import load_weights, save_weights
from salience.units import check_seed, check_whole, counted, printable

FIXED = 256  # rows a forward pass; the last batch is padded to it
PASS_PIXELS = 2**16  # of small images in a forward pass that enlarges them
CALIBRATION = 8  # batches that set an untrained encoder's batch-norm statistics


class Representation:
    """What a fit leaves.

    method: the fitted module;  config: of the run;  run: its folder, None where there is none
    """

    def __init__(self, method: Method | ClosedForm, config: Config, run: Path | None = None):
        self.method = method.eval().requires_grad_(False)
        self.config = config
        self.run = run
        self.spec = Spec.from_dict(self.config.data.spec)

    def __repr__(self) -> str:
        where = "" if self.run is None else f", run={str(self.run)!r}"
        rows = counted(self.config.data.rows, "row")
        return f"Representation({self.method_name}, dim={self.dim}, learnt from {rows}{where})"

    @property
    def method_name(self) -> str:
        return self.config.model.method

    @property
    def dim(self) -> int:
        """d, the width of an embedding."""
        return self.method.width

    @property
    def trained_on(self) -> dict[str, Any]:
        """source, split, fingerprint, rows, without: the class that was left out"""
        return {key: getattr(self.config.data, key) for key in ("source", "split", "fingerprint", "rows", "without")}

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What this run can, as far as its options have not taken it away."""
        withheld = {catalogue.CAPABILITIES[function] for function in self._withheld}
        return tuple(name for name in catalogue.find(self.method_name).capabilities if name not in withheld)

    @property
    def _withheld(self) -> Mapping[str, str]:
        return {} if isinstance(self.method, ClosedForm) else self.method.withheld

    def embed(self, source: Any, *, batch_size: int = FIXED, progress: bool = False) -> np.ndarray:
        """[n d] float32, or float64 for a closed form of float64 rows; one row an item, in the source's order.

        source: anything `open_data` takes, or a Dataset it opened
        batch_size: rows of every forward pass, the last padded, so that an item's embedding is the same to the bit in
            any company
        Errors: UserError where the data is not what the run was trained on.
        """
        keep_freed_memory()
        batch_size = check_whole("batch_size", batch_size, 1)
        dataset = self.open(source)
        parts, rows = [], []
        with progress_bar(len(dataset), "embedding", progress) as bar:
            for batch in dataset.equal_length_chunks(batch_size):
                length = 1 if batch.mask is None else batch.mask.shape[1]
                parts.append(self._embed_batch(batch, rows_at_once(batch_size, length)))
                rows.append(batch.index.numpy())
                bar.update(len(batch))
        return np.concatenate(parts)[np.argsort(np.concatenate(rows))] if parts else np.empty((0, self.dim), np.float32)

    def embed_unit(self, x: Tensor) -> np.ndarray:
        """The same of items on the unit scale, as after adding noise to them.  [n ...] -> [n d]"""
        if isinstance(self.method, ClosedForm):
            rows = x.flatten(1).to(self.method.row_dtype)
            return in_fixed(self.method.embed_rows, rows, self.device)
        return in_fixed(self.method.encode, x.float(), self.device)

    def decode(self, codes: np.ndarray | Tensor) -> np.ndarray:
        """The items that codes stand for, on the unit scale.  [n d] -> [n ...]

        Errors: UserError where the method does not decode, or these are no codes of it.
        """
        decode = self.require("decode", "decode")
        dtype = self.method.row_dtype if isinstance(self.method, ClosedForm) else torch.float32
        rows = torch.as_tensor(codes)
        if rows.shape[1:] != (self.dim,):
            raise UserError(f"codes: {tuple(rows.shape)} is not [n {self.dim}], n codes of this {self.method_name}")
        if not torch.isfinite(rows).all():
            raise UserError("codes: not all values are finite; leave out rows with NaN or infinity")
        return in_fixed(decode, rows.to(dtype), self.device)

    def reconstruct(self, source: Any, *, progress: bool = False) -> np.ndarray:
        """Every item embedded and decoded, on the unit scale, in the source's order.  [n ...]"""
        self.require("decode", "reconstruct")
        batches = _with_bar(self.open(source), FIXED, progress)
        return np.concatenate([self.decode(self._embed_batch(batch, FIXED)) for batch in batches])

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """New items on the unit scale, [n ...]. Of equal seeds the first ones are the same, however many are asked for.

        Errors: UserError where the method does not draw samples.
        """
        sample = self.require("sample", "sample")
        n, seed = check_whole("n", n, 1), check_seed(seed)
        with torch.inference_mode(), self._drawing(seed):
            parts = [sample(FIXED).cpu().numpy() for _ in range(-(-n // FIXED))]
        return np.concatenate(parts)[:n]

    def log_likelihood(self, source: Any, *, progress: bool = False) -> np.ndarray:
        """How ordinary each item is, in nats, higher is more so.  [n]

        Errors: UserError where the method does not rate items.
        """
        self.require("log_likelihood", "rate items by their likelihood")
        batches = _with_bar(self.open(source), FIXED, progress)
        return np.concatenate([self.log_likelihood_batch(batch) for batch in batches])

    @torch.inference_mode()
    def log_likelihood_batch(self, batch: Batch) -> np.ndarray:
        """Of at most FIXED raw items, [n]."""
        rate = self.require("log_likelihood", "rate items by their likelihood")
        with self._drawing(0):
            return rate(_padded(batch, FIXED).to(self.device))[: len(batch)].cpu().numpy()

    def enlarge(self, x: np.ndarray | Tensor) -> np.ndarray:
        """Larger images of small ones, both on the unit scale.  [n c h w] -> [n c fh fw]

        Errors: UserError where the method does not enlarge images, or these are none of its channels.
        """
        enlarge, images = self.require("enlarge", "super-resolve"), torch.as_tensor(x).float()
        if images.ndim != 4 or images.shape[1] != self.spec.shape[0]:
            raise UserError(f"x: {tuple(images.shape)} is not [n {self.spec.shape[0]} h w], images of this run")
        return in_fixed(enlarge, images, self.device, enlarged_at_once(images.shape[2] * images.shape[3]))

    def unit(self, batch: Batch) -> Tensor:
        """Raw items -> [n ...] on the unit scale."""
        if isinstance(self.method, ClosedForm):
            return self.method.unflatten(self.method.flat(batch.to(self.device))).cpu()
        return self.method.encoder.input.unit(batch.to(self.device).x).cpu()

    def require(self, function: str, verb: str) -> Callable[..., Any]:
        """A function of the method that not all have. Raises UserError that names those that have it."""
        capability, withheld = catalogue.CAPABILITIES[function], self._withheld
        if function in withheld:
            raise UserError(f"run: this {self.method_name} cannot {verb}: {withheld[function]}")
        if capability not in self.capabilities:
            able = [entry.name for entry in catalogue.entries() if capability in entry.capabilities]
            remedy = f"fit one of the methods that can: {', '.join(able)}"
            raise UserError(f"run: {self.method_name} cannot {verb}; {remedy if able else 'no method can yet'}")
        return getattr(self.method, function)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return _device_of(self.method)

    @contextmanager
    def _drawing(self, seed: int) -> Iterator[None]:
        """What the method draws meanwhile depends on the seed alone, and nobody else's draws are changed."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    @property
    def reading(self) -> Reading:
        """How its training data were read."""
        return self.config.data.reading

    def open(self, source: Any, *, reading: Reading = AS_FOUND, **options: Any) -> Dataset:
        """The source as this representation expects it: resolution, channels, columns.

        reading: how the source is read; what it leaves open is as when the run was trained
        """
        if isinstance(source, Dataset):
            return _matching(source, self.spec)
        return open_data(source, spec=self.spec, reading=reading.over(self.reading), **options)

    def open_trained(self, source: Any) -> Dataset:
        """The source the run was trained on, without the class that was left out."""
        left_out = self.config.data.without
        if left_out is None:
            return self.open(source, progress=False)
        return self.open(source, labels=self.config.data.labels, progress=False).without(left_out)

    def untrained(self, data: Dataset, seed: int = 0) -> Representation | None:
        """The same encoder with fresh weights, batch-norm statistics calibrated on `data`; None for a closed form."""
        if isinstance(self.method, ClosedForm):
            return None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = make_method(self.config, self.spec, fetch=False)
            assert isinstance(fresh, Method)
            calibrate(fresh, fresh.embed, _matching(data, self.spec))
        return Representation(fresh, self.config)

    @torch.inference_mode()
    def _embed_batch(self, batch: Batch, fixed: int) -> np.ndarray:
        return self.method.embed(_padded(batch, fixed).to(self.device))[: len(batch)].cpu().numpy()

    def save(self, path: Path | str) -> None:
        """Writes the weights as safetensors. Equal weights give equal files: no time, path or name is in them."""
        save_weights(self.method, Path(path))


def source_or_own(rep: Representation, source: Any) -> Any:
    """The source; where it is None the one the run was trained on, which a Note says.

    Errors: UserError where the run was fitted to data in memory.
    """
    if source is not None:
        return source
    own = rep.config.data.require_source()
    named = ", ".join(map(str, own.values())) if isinstance(own, dict) else own
    warnings.warn(f"no source was given; using {printable(named)}, which the run was trained on", Note, stacklevel=3)
    return own


def load(run: Path | str) -> Representation:
    """The representation in a run folder; of an unfinished run, what its last checkpoint holds.

    Errors: UserError where it is no run, damaged, of a newer version, or has no weights yet.
    """
    folder = Run(run)
    method = _method_of(folder)
    load_weights(method, folder)
    return Representation(method.to(best_device()), folder.config, folder.path)


def open_for(
    rep: Representation, source: Any, labels: str | None, reading: Reading = AS_FOUND, *, split: str | None = None
) -> Dataset:
    """The source as the run expects it, with the labels of the column named, or of the one the run was told of."""
    if isinstance(source, Dataset):
        return rep.open(source)
    if labels is not None:
        if labels in rep.spec.modality.columns(rep.spec):
            raise UserError(f"labels: the run was fitted to column '{labels}'; name another, or fit without it")
        return rep.open(source, labels=labels, reading=reading, split=split)
    try:
        return rep.open(source, labels=rep.config.data.labels, reading=reading, split=split)
    except UserError:  # a table without the column of the run's labels is unlabelled, and measured as such
        return rep.open(source, reading=reading, split=split)


def make_method(config: Config, spec: Spec, *, fetch: bool = True) -> Method | ClosedForm:
    """The method a config describes, with fresh weights."""
    model, rows = config.model, config.data.rows
    classes = len(config.data.classes) if model.use_labels else 0
    load_encoder = functools.partial(encoder_of, spec=spec)
    method = method_class(model.method)
    context = Context(spec, rows, encoder_for(method, model.encoder, spec), model.views, fetch, classes, load_encoder)
    return method.build(context, **model.options)


def encoder_for(method: type[Method] | type[ClosedForm], asked: str | None, spec: Spec) -> str | None:
    """Return the name of the encoder of a method, None for the default.

    Raises:
        UserError: The method requires vectors, and the encoder reads ragged items.
    """
    vectors = spec.modality.vector_encoder
    if vectors is None or not issubclass(method, Method) or "vectors" not in method.requires:
        return asked
    if asked not in (None, *DENSE):
        raise UserError(
            f"encoder: this method needs vectors, and '{asked}' reads {spec.modality.plural}; use {vectors}"
        )
    return asked or method.default_encoder or vectors


def encoder_of(run: str, *, spec: Spec) -> tuple[str, Encoder]:
    """What the network of a run is called, and its encoder, for a method that compares by what it sees.

    Errors: UserError where it has none, or one for other data than `spec`.
    """
    with naming("features", "run"):
        found = load(run)
    if isinstance(found.method, ClosedForm):
        raise UserError(f"features: {run} is a closed form and has no encoder; give a run that was trained")
    if found.spec.form != spec.form:
        has, needs = ("×".join(map(str, s.shape)) for s in (found.spec, spec))
        raise UserError(
            f"features: {run} sees {found.spec.modality.name} items of {has}, these are {spec.modality.name} items of "
            f"{needs}; "
            "give a run on data of the same values or columns"
        )
    return found.config.model.encoder or "", found.method.encoder.cpu()


def options_of(method: Method | ClosedForm, name: str) -> dict[str, Any]:
    """The hyper-parameters a method was built with, defaults included."""
    return {option.name: getattr(method, option.name) for option in catalogue.find(name).options}


def _method_of(run: Run) -> Method | ClosedForm:
    """The method its config describes. A config that was edited into nonsense says so."""
    try:
        return make_method(run.config, Spec.from_dict(run.config.data.spec), fetch=False)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"run: {run.path / 'config.yaml'} is damaged ({reason})") from None


def enlarged_at_once(pixels: int) -> int:
    """How many small images of so many pixels go through a method together."""
    return max(1, min(FIXED, PASS_PIXELS // max(1, pixels)))


@torch.inference_mode()
def in_fixed(function: Callable[[Tensor], Tensor], x: Tensor, device: torch.device, fixed: int = FIXED) -> np.ndarray:
    """A function of rows, so many at a time, the last padded, so that a row's result is the same in any company.

    x: [n ...] -> [n ...]
    """
    parts = []
    for part in x.split(fixed):
        whole = part if len(part) else x.new_zeros(1, *x.shape[1:])  # of no rows too, so that the result has its width
        padded = whole if len(whole) == fixed else whole[torch.arange(fixed) % len(whole)]
        parts.append(function(padded.to(device))[: len(part)].cpu().numpy())
    return np.concatenate(parts)


def _padded(batch: Batch, fixed: int) -> Batch:
    """The batch, its items repeated until there are `fixed`."""
    if len(batch) >= fixed:
        return batch
    if not isinstance(batch.x, Tensor):  # items that are computed with others beside them, as nodes are
        return batch
    rows = torch.arange(fixed) % len(batch)
    return Batch(batch.x[rows], batch.index[rows], mask=None if batch.mask is None else batch.mask[rows])


def best_device() -> str:
    """Where a loaded representation computes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _matching(dataset: Dataset, spec: Spec) -> Dataset:
    """The dataset, where what it stores is what `spec` describes; its own statistics do not matter."""
    if dataset.spec.form != spec.form:
        has, needs = ("×".join(map(str, s.shape)) for s in (dataset.spec, spec))
        raise UserError(
            f"source: {dataset.name} holds {dataset.spec.modality.name} items of {has}, the run needs "
            f"{spec.modality.name} items of {needs} with the same values or columns; "
            "open it with open_data(source, spec=representation.spec)"
        )
    return dataset


def _with_bar(dataset: Dataset, size: int, progress: bool) -> Iterator[Batch]:
    with progress_bar(len(dataset), "embedding", progress) as bar:
        for batch in dataset.chunks(size):
            yield batch
            bar.update(len(batch))


def _device_of(method: nn.Module) -> torch.device:
    return next(iter(method.state_dict().values())).device


@torch.no_grad()
def calibrate(module: nn.Module, embed: Callable[[Batch], Tensor], data: Dataset) -> None:
    """Sets batch-norm statistics to those of the data: running statistics of fresh weights are fiction."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    module.train()
    loader = data.loader(min(FIXED, len(data)), seed=0)
    for step in range(min(CALIBRATION, len(loader))):
        embed(loader.batch_at(step).to(_device_of(module)))
    module.eval()
