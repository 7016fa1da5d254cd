# ruff: noqa: N803, N806 - scikit-learn names its arguments X
"""The methods as a scikit-learn transformer: for pipelines, searches and cross-validation.

    RepresentationLearner("simclr", options={"temperature": 0.1}, random_state=0).fit_transform(X)

It learns through `salience.fit`, into a folder that is gone when `fit` returns. What the caller's program has set
(random state, threads, warning filters) is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from salience import catalogue
from salience.data import Dataset
from salience.data.labels import encode_labels
from salience.errors import UserError, naming
from salience.fields.ids import Ids
from salience.methods import ClosedForm, method_class
from salience.modalities import Spec
from salience.modalities.table.cells import text_of
from salience.reading import Reading
from salience.representation import FIXED, Representation
from salience.training import Interrupted, fit
from salience.training.engine import threads
from salience.units import counted, printable

NESTED = "options__"
FEW_ROWS = 800  # below, rows are seen fewer times than `salience.fit` would: they hold less, and searches fit often
FEW_EPOCHS = 10


def _decodes(learner: RepresentationLearner) -> bool:
    return learner.method in catalogue.names() and "decodes" in catalogue.find(learner.method).capabilities


def _needs_labels(learner: RepresentationLearner) -> bool:
    return learner.method in catalogue.names() and getattr(method_class(learner.method), "needs_labels", False)


class RepresentationLearner(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learns a representation, of all methods but SupCon without labels, and transforms items to it.

    method: "pca", "kmeans", "autoencoder", "simclr": the methods that `salience methods` lists
    options: the method's hyper-parameters; one alone is reached as options__NAME, also where options is None.
        A default dimension is clamped to the data
    random_state: an integer is the seed of `salience.fit`; a RandomState, or None for NumPy's own, gives one
    unlabelled: the value in y of a row whose class is not known, such as -1; by default every value but NaN is a class
    epochs, batch_size, learning_rate, encoder, views: as in `salience.fit`; None leaves them to the data. Methods
        solved in closed form have none of them

    After fit: representation_ (a salience.Representation), n_features_in_, feature_names_in_ where columns had names.

    X everywhere is a table of finite numbers [n columns], or images [n h w], [n c h w] or [n h w c]. Images that are
    not square are stretched, not cropped as in `salience.fit`, so that inverse_transform gives whole items.
    Codes are float64 where X is float64 or a table of integers, else float32. A row's code does not depend on the rows
    beside it.
    """

    def __init__(
        self,
        method: str = "pca",
        *,
        options: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        encoder: str | None = None,
        views: str | None = None,
        unlabelled: Any = None,
    ) -> None:
        self.method = method
        self.options = options
        self.random_state = random_state
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.encoder = encoder
        self.views = views
        self.unlabelled = unlabelled

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learns from all rows of X.  y: classes [n], for a method that learns from them (SupCon), else not used"""
        X = self._validated(X, reset=True)
        entry = catalogue.find(self.method)
        labelled = _needs_labels(self)
        if labelled and y is None:
            raise UserError(f"y: {self.method} requires labels, got none; give the class of each row")
        if not isinstance(self.options, Mapping | None):
            raise UserError(f"options: {self.options!r} is not a dictionary; give {{'dim': 2}}, or options__dim=2")
        options = entry.check(self.options or {})
        named = naming("y", "labels") if labelled else nullcontext()
        missing = _unlabelled(self.unlabelled, y) if labelled else None
        with TemporaryDirectory(prefix="salience-") as folder, _own_randomness(), _stopped_by_user(), named:
            fitted = fit(
                self.method,
                _storable(X),
                out=Path(folder) / "run",
                epochs=_default_epochs(entry.kind, len(X)) if self.epochs is None else self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                encoder=self.encoder,
                views=self.views,
                labels=y if labelled else None,
                reading=Reading(aspect="stretch", missing=missing),  # stretched: inverse_transform gives all of an item
                seed=self._seed(),
                progress=False,
                **options,
            )
        self.representation_ = Representation(fitted.method, fitted.config)  # its run folder is gone
        self._item_shape = X.shape[1:]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Codes [n d] of the rows of X."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        if X.shape[1:] != self._item_shape:
            raise UserError(f"X: items of shape {X.shape[1:]}, but fit saw {self._item_shape}; give the same shape")
        with self._threads():
            codes = self.representation_.embed(_as_learnt(_storable(X), self.representation_.spec))
        return codes.astype(np.float64 if X.dtype == np.float64 else np.float32, copy=False)

    @available_if(_decodes)
    def inverse_transform(self, X: Any) -> np.ndarray:
        """Items [n ...] that the codes X [n d] stand for, in the shape and scale that fit saw.

        Errors: UserError where an option took decoding away.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=[np.float64, np.float32])
        method, dim = self.representation_.method, self.representation_.dim
        decode = self.representation_.require("decode", "rebuild")
        if codes.shape[1] != dim:
            width = counted(codes.shape[1], "value")
            raise UserError(f"X: codes of {width}, but fit learnt {dim}; give what transform returned")
        given = torch.from_numpy(codes).to(method.row_dtype if isinstance(method, ClosedForm) else torch.float32)
        with self._threads(), torch.inference_mode():
            unit = torch.cat([decode(part) for part in given.split(FIXED)])
        spec = self.representation_.spec
        return spec.modality.to_array(unit, spec, self._item_shape).astype(codes.dtype, copy=False)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments; if `deep`, also each of `options` as options__NAME."""
        params = super().get_params(deep)
        nested = self.options if deep and isinstance(self.options, Mapping) else {}
        return params | {NESTED + name: value for name, value in nested.items()}

    def set_params(self, **params: Any) -> Self:
        """Sets arguments of the constructor; options__NAME sets one of `options` and keeps the others."""
        nested = {name.removeprefix(NESTED): params.pop(name) for name in list(params) if name.startswith(NESTED)}
        super().set_params(**params)
        if nested:
            self.options = {**(self.options or {}), **nested}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = _needs_labels(self)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        """For get_feature_names_out."""
        return self.representation_.dim

    def _validated(self, X: Any, *, reset: bool) -> np.ndarray:
        """X as an array of finite numbers; a table's are floats. Raises UserError for masked values."""
        if np.ma.is_masked(X):
            raise UserError("X: masked values are not supported; replace them, as with X.filled(VALUE)")
        X = validate_data(self, X, reset=reset, dtype="numeric", allow_nd=True, ensure_min_samples=2 if reset else 1)
        return X.astype(np.float64) if X.ndim == 2 and X.dtype not in (np.float32, np.float64) else X

    def _seed(self) -> int:
        state = check_random_state(self.random_state)
        return int(self.random_state if isinstance(self.random_state, Integral) else state.randint(2**31 - 1))

    def _threads(self) -> Any:
        """As many as in training; a closed form trains in NumPy, and uses the caller's number."""
        return threads(self.representation_.config.training.threads or torch.get_num_threads())


def _unlabelled(value: Any, y: Any) -> tuple[str, ...] | None:
    """The value in y of unknown classes as a word of a reading. Raises UserError where it is no one value of y."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):  # NaN is always unknown
        return None
    if not np.isscalar(value):
        raise UserError(
            f"unlabelled: expected one value of y, such as -1, got {str(value)[:40]!r}; give the value alone"
        )
    word, (_, classes) = text_of(value), encode_labels(y, "y")
    if word not in classes:
        there = ", ".join(map(printable, classes[:5])) + ", ..." * (len(classes) > 5)
        raise UserError(
            f"unlabelled: {value!r} is not a value of y, which contains {there}; leave it out, or correct it"
        )
    return (word,)


def _default_epochs(kind: str, rows: int) -> int | None:
    """A quarter of the rows, at least 10; None, for the recipe's, where there are many.

    Measured on iris and wine: a fifth of the time of 200 epochs, for 0 to 0.05 less accuracy of nearest neighbours.
    """
    return max(FEW_EPOCHS, rows // 4) if kind != "ClosedForm" and rows < FEW_ROWS else None


def _storable(X: np.ndarray) -> np.ndarray:
    """X in a type that is stored as it is: that depends on the type of X alone, never on its values."""
    return X if X.ndim == 2 or X.dtype in (np.uint8, np.uint16, np.float32) else X.astype(np.float32)


def _as_learnt(X: np.ndarray, spec: Spec) -> Dataset:
    """The rows of X, stored as `spec` says."""
    stored = spec.modality.from_array(X, spec)
    return Dataset("array", "all", spec, stored, None, (), Ids(len(stored)), fingerprint="")


@contextmanager
def _own_randomness() -> Iterator[None]:
    """torch's random state comes back when this ends."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextmanager
def _stopped_by_user() -> Iterator[None]:
    """Ctrl-C as any program expects it: there is no run to continue."""
    try:
        yield
    except Interrupted:
        raise KeyboardInterrupt from None
