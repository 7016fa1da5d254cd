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
from salience.catalogue import Entry
from salience.config import Config
from salience.data import Dataset
from salience.errors import Note, UserError, naming
from salience.fields.stored_items import rows_at_once
from salience.methods import ClosedForm, Context, Method, method_class
from salience.modalities import Spec
from salience.nets import Encoder
from salience.nets.make import DENSE
from salience.nets.own import start_again
from salience.own_code import Code, code_of
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.run import Run
from salience.run_data import matching, open_fitting, open_labelled, spec_of
from salience.run_weights import load_weights, save_weights
from salience.units import check_seed, check_whole, counted, printable

FIXED = 256  # rows a forward pass; the last batch is padded to it
PASS_PIXELS = 2**16  # of small images in a forward pass that enlarges them
CALIBRATION = 8  # batches that set an untrained encoder's batch-norm statistics


class Representation:
    """A fitted method that can embed.

    Attributes:
        method: The fitted module.
        config: The configuration of the run.
        run: The run; None if it has no folder.
        code: The parts of the run that are not part of Salience.
        entry: The entry of the method in the catalogue.
    """

    def __init__(self, method: Method | ClosedForm, config: Config, run: Path | None = None, code: Code | None = None):
        self.method = method.eval().requires_grad_(False)
        self.config = config
        self.run = run
        self.spec = spec_of(self.config)
        self.code = code_of(config, code)
        self.entry = self.code.entry(config.model.method)

    def __repr__(self) -> str:
        where = "" if self.run is None else f", run={str(self.run)!r}"
        rows = counted(self.config.data.rows, "row")
        return f"Representation({self.method_name}, dim={self.dim}, trained on {rows}{where})"

    @property
    def method_name(self) -> str:
        return self.config.model.method

    @property
    def network(self) -> str:
        """The name of its encoder."""
        named = self.config.model.options.get("network", catalogue.AUTO) if self.entry.takes else catalogue.AUTO
        return str(self.config.model.encoder or "") if named == catalogue.AUTO else str(named)

    @property
    def dim(self) -> int:
        """Width d of an embedding."""
        return self.method.width

    @property
    def trained_on(self) -> dict[str, Any]:
        """The source, split, fingerprint and rows of the training, and the class that was left out."""
        return {key: getattr(self.config.data, key) for key in ("source", "split", "fingerprint", "rows", "without")}

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The functions that this run supports with its options."""
        withheld = {catalogue.CAPABILITIES[function] for function in self._withheld}
        return tuple(name for name in self.entry.capabilities if name not in withheld)

    @property
    def _withheld(self) -> Mapping[str, str]:
        return {} if isinstance(self.method, ClosedForm) else self.method.withheld

    def embed(self, source: Any, *, batch_size: int | None = None, progress: bool = False) -> np.ndarray:
        """Embed all items of a source, in its order.

        Args:
            source: Any source of `open_data`, or a Dataset.
            batch_size: Rows of one forward pass. The last one is padded, so that an embedding does not depend on the
                batch. Default: 256, fewer for large published networks.

        Returns:
            [n d] float32, or float64 for a closed form of float64 rows.

        Raises:
            UserError: The data do not fit the run.
        """
        keep_freed_memory()
        batch_size = check_whole("batch_size", self.method.rows_at_once if batch_size is None else batch_size, 1)
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
        """Embed items on the unit scale, such as noisy ones.  [n ...] -> [n d]"""
        if isinstance(self.method, ClosedForm):
            rows = x.flatten(1).to(self.method.row_dtype)
            return in_fixed(self.method.embed_rows, rows, self.device, self.method.rows_at_once)
        return in_fixed(self.method.encode, x.float(), self.device)

    def decode(self, codes: np.ndarray | Tensor) -> np.ndarray:
        """Decode codes to items on the unit scale.  [n d] -> [n ...]

        Raises:
            UserError: The method does not decode, or the codes do not have its shape.
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
        """Embed and decode all items of a source, in its order. Return items on the unit scale, [n ...]."""
        self.require("decode", "reconstruct")
        batches = _with_bar(self.open(source), FIXED, progress)
        return np.concatenate([self.decode(self._embed_batch(batch, FIXED)) for batch in batches])

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Generate new items on the unit scale, [n ...]. Equal seeds give equal first items for any n.

        Raises:
            UserError: The method does not sample.
        """
        sample = self.require("sample", "sample")
        n, seed = check_whole("n", n, 1), check_seed(seed)
        with torch.inference_mode(), self._drawing(seed):
            parts = [sample(FIXED).cpu().numpy() for _ in range(-(-n // FIXED))]
        return np.concatenate(parts)[:n]

    def log_likelihood(self, source: Any, *, progress: bool = False) -> np.ndarray:
        """Return the log-likelihood of each item in nats, [n].

        Raises:
            UserError: The method has no likelihood.
        """
        self.require("log_likelihood", "rate items by their likelihood")
        batches = _with_bar(self.open(source), FIXED, progress)
        return np.concatenate([self.log_likelihood_batch(batch) for batch in batches])

    @torch.inference_mode()
    def log_likelihood_batch(self, batch: Batch) -> np.ndarray:
        """Return the log-likelihood of at most FIXED stored items, [n]."""
        rate = self.require("log_likelihood", "rate items by their likelihood")
        with self._drawing(0):
            return rate(_padded(batch, FIXED).to(self.device))[: len(batch)].cpu().numpy()

    def enlarge(self, x: np.ndarray | Tensor) -> np.ndarray:
        """Enlarge images on the unit scale.  [n c h w] -> [n c fh fw]

        Raises:
            UserError: The method does not enlarge images, or the channels do not fit.
        """
        enlarge, images = self.require("enlarge", "super-resolve"), torch.as_tensor(x).float()
        if images.ndim != 4 or images.shape[1] != self.spec.shape[0]:
            raise UserError(f"x: {tuple(images.shape)} is not [n {self.spec.shape[0]} h w], images of this run")
        return in_fixed(enlarge, images, self.device, enlarged_at_once(images.shape[2] * images.shape[3]))

    def unit(self, batch: Batch) -> Tensor:
        """Convert stored items to the unit scale, [n ...]."""
        if isinstance(self.method, ClosedForm):
            return self.method.unflatten(self.method.flat(batch.to(self.device))).cpu()
        return self.method.encoder.input.unit(batch.to(self.device).x).cpu()

    def require(self, function: str, verb: str) -> Callable[..., Any]:
        """Raise UserError, with the methods that would do, if the method lacks this function."""
        if function in self._withheld:
            raise UserError(f"run: this {self.method_name} cannot {verb}: {self._withheld[function]}")
        catalogue.refuse_unable(self.method_name, function, verb)
        return getattr(self.method, function)

    @property
    def device(self) -> torch.device:
        """The device on which it computes."""
        return _device_of(self.method)

    @contextmanager
    def _drawing(self, seed: int) -> Iterator[None]:
        """What the method draws meanwhile depends on the seed alone, and nobody else's draws are changed."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    @property
    def reading(self) -> Reading:
        """How the training data were read."""
        return self.config.data.reading

    def open(self, source: Any, *, reading: Reading = AS_FOUND, **options: Any) -> Dataset:
        """Open a source as the run expects it: its resolution, channels and columns.

        Args:
            source: Any source of `open_data`.
            reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.
        """
        return open_fitting(self.config, self.spec, source, reading=reading, **options)

    def open_trained(self, source: Any) -> Dataset:
        """Open the source that the run was trained on, without the class that was left out."""
        left_out = self.config.data.without
        if left_out is None:
            return self.open(source, progress=False)
        return self.open(source, labels=self.config.data.labels, progress=False).without(left_out)

    def untrained(self, data: Dataset, seed: int = 0) -> Representation | None:
        """Return the same encoder with initial weights and batch-norm statistics of `data`; None for a closed form."""
        encoder = self.method.encoder
        if encoder is None or not any(True for _ in encoder.parameters()):
            return None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = make_method(self.config, self.spec, fetch=False, code=self.code)
            assert fresh.encoder is not None
            if isinstance(self.code.part("encoder", None), nn.Module):
                note_kept(start_again(fresh.encoder))
            calibrate(fresh, fresh.embed, matching(data, self.spec), fresh.rows_at_once)
        return Representation(fresh, self.config, code=self.code)

    @torch.inference_mode()
    def _embed_batch(self, batch: Batch, fixed: int) -> np.ndarray:
        return self.method.embed(_padded(batch, fixed).to(self.device))[: len(batch)].cpu().numpy()

    def save(self, path: Path | str) -> None:
        """Write the weights as safetensors. Equal weights give equal files, without times, paths or names."""
        save_weights(self.method, Path(path))


def source_or_own(rep: Representation, source: Any) -> Any:
    """Return the source, or the source that the run was trained on if it is None, with a Note.

    Raises:
        UserError: The run was fitted to data in memory.
    """
    if source is not None:
        return source
    own = rep.config.data.require_source()
    named = ", ".join(map(str, own.values())) if isinstance(own, dict) else own
    warnings.warn(f"no source was given; using {printable(named)}, which the run was trained on", Note, stacklevel=3)
    return own


def note_kept(names: list[str]) -> None:
    """Note which parameters of a module have no initial weights for the untrained encoder."""
    if names:
        kept = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
        said = f"the baseline 'untrained' keeps {kept} as given: their layers have no reset_parameters()"
        warnings.warn(said, Note, stacklevel=3)


def load(run: Path | str, *, code: Any = None) -> Representation:
    """Load the representation of a run; if the run is unfinished, the one of its last checkpoint.

    Args:
        run: Folder of the run.
        code: What the run needs in addition to Salience: one Python file or several, or objects by their part, such as
            {"encoder": module}. Nothing else is imported.

    Raises:
        UserError: The folder is not a run, is damaged, is of a newer version, or has no weights yet.
    """
    folder = Run(run)
    found = code_of(folder.config, code)
    method = _method_of(folder, found)
    load_weights(method, folder)
    return Representation(method.to(best_device()), folder.config, folder.path, found)


def open_for(
    rep: Representation, source: Any, labels: str | None, reading: Reading = AS_FOUND, *, split: str | None = None
) -> Dataset:
    """Open a source as the run expects it, with the labels of this column, or of the column that the run was given."""
    return open_labelled(rep.config, rep.spec, source, labels, reading, split=split)


def make_method(config: Config, spec: Spec, *, fetch: bool = True, code: Code | None = None) -> Method | ClosedForm:
    """Make the method of a config, with initial weights."""
    model, rows, own = config.model, config.data.rows, code_of(config, code)
    encoder, views = own.part("encoder", model.encoder), own.part("views", model.views)
    classes = len(config.data.classes) if model.use_labels else 0
    load_encoder = functools.partial(encoder_of, spec=spec)
    method = method_class(own.entry(model.method))
    context = Context(spec, rows, encoder_for(method, encoder, spec), views, fetch, classes, load_encoder)
    return method.build(context, **model.options)


def encoder_for(method: type[Method] | type[ClosedForm], asked: Any, spec: Spec) -> Any:
    """Return the encoder of a method: a name, a module or a function that makes one; None for the default.

    Raises:
        UserError: The method requires vectors, and the encoder reads ragged items.
    """
    vectors = spec.modality.vector_encoder
    if vectors is None or not issubclass(method, Method) or "vectors" not in method.requires:
        return asked
    if isinstance(asked, str) and asked not in DENSE:
        raise UserError(
            f"encoder: this method needs vectors, and '{asked}' reads {spec.modality.plural}; use {vectors}"
        )
    return asked or method.default_encoder or vectors


def encoder_of(run: str, *, spec: Spec) -> tuple[str, Encoder]:
    """Return the name and the encoder of a run, for a method that compares items by features.

    Raises:
        UserError: The run has no encoder, or one for other data than `spec`.
    """
    with naming("features", "run"):
        found = load(run)
    if found.method.encoder is None:
        raise UserError(f"features: {run} has a closed form and no encoder; give a run trained by gradient")
    if found.entry.takes:
        raise UserError(f"features: {run} was not trained; give its network, {found.network}, by name")
    if found.spec.form != spec.form:
        has, needs = ("×".join(map(str, s.shape)) for s in (found.spec, spec))
        raise UserError(
            f"features: {run} sees {found.spec.modality.name} items of {has}, these are {spec.modality.name} items of "
            f"{needs}; "
            "give a run on data of the same values or columns"
        )
    return found.network, found.method.encoder.cpu()


def options_of(method: Method | ClosedForm, known: str | Entry) -> dict[str, Any]:
    """Return the hyperparameters of a method, including defaults. `known` is its name or its entry."""
    entry = catalogue.find(known) if isinstance(known, str) else known
    return {option.name: getattr(method, option.name) for option in entry.options}


def _method_of(run: Run, code: Code) -> Method | ClosedForm:
    """The method its config describes. A config that was edited into nonsense says so."""
    try:
        return make_method(run.config, Spec.from_dict(run.config.data.spec), fetch=False, code=code)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"run: {run.path / 'config.yaml'} is damaged ({reason})") from None


def enlarged_at_once(pixels: int) -> int:
    """Return how many small images of this size a method enlarges in one pass."""
    return max(1, min(FIXED, PASS_PIXELS // max(1, pixels)))


@torch.inference_mode()
def in_fixed(function: Callable[[Tensor], Tensor], x: Tensor, device: torch.device, fixed: int = FIXED) -> np.ndarray:
    """Apply a function to rows in passes of a fixed size, the last one padded, so that no result depends on its batch.

    Args:
        x: Rows [n ...].

    Returns:
        Results [n ...].
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
    """Return the device on which a loaded representation computes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _with_bar(dataset: Dataset, size: int, progress: bool) -> Iterator[Batch]:
    with progress_bar(len(dataset), "embedding", progress) as bar:
        for batch in dataset.chunks(size):
            yield batch
            bar.update(len(batch))


def _device_of(method: nn.Module) -> torch.device:
    return next(iter(method.state_dict().values())).device


@torch.no_grad()
def calibrate(module: nn.Module, embed: Callable[[Batch], Tensor], data: Dataset, rows: int | None = None) -> None:
    """Set batch-norm statistics to those of the data, because the initial running statistics do not fit any data."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    module.train()
    loader = data.loader(min(FIXED if rows is None else rows, len(data)), seed=0)
    for step in range(min(CALIBRATION, len(loader))):
        embed(loader.batch_at(step).to(_device_of(module)))
    module.eval()
