"""Features that items are compared by, the same for every run, so that runs can be compared.

A run's own embedding is no judge of what it makes: it does not see what it ignores. Features linear in the pixels are
none either: by them any blur is near to the data, and a Gaussian fitted to the pixels equals it. So it is another run's
embedding, or that of an untrained encoder, the same for all runs on data of one shape (random features tell real from
made as well as trained ones where these come from afar: Naeem et al. 2020, https://arxiv.org/abs/2002.09797).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from salience.data import Dataset
from salience.errors import UserError, naming
from salience.nets import make_encoder
from salience.representation import FIXED, Representation, best_device, calibrate, in_fixed, load

SEED = 0


@dataclass(frozen=True)
class FeatureSpace:
    """name: for reports;  features: unit-scale items [n ...] -> [n d]"""

    name: str
    features: Callable[[Tensor], np.ndarray]

    def __call__(self, x: Tensor | np.ndarray) -> np.ndarray:
        """[n d] float64"""
        return self.features(torch.as_tensor(x).float()).astype(np.float64)

    def of(self, rep: Representation, data: Dataset) -> np.ndarray:
        """[n d] of all items.  rep: brings them to the unit scale"""
        return np.concatenate([self(rep.unit(batch)) for batch in data.chunks(FIXED)])


def make_feature_space(features: Representation | Path | str | None, data: Dataset) -> FeatureSpace:
    """features: a run, whose embedding it is; None: an untrained encoder's

    Errors: UserError where the run is of other data.
    """
    if features is None:
        return _untrained(data)
    with naming("features", "run"):
        rep = load(features) if isinstance(features, str | Path) else features
    if rep.spec.unit_form != data.spec.unit_form:
        raise UserError(
            f"features: {rep!r} was trained on other data than {data.name}; give a run fitted to data of this shape"
        )
    return FeatureSpace(f"the embedding of {rep.method_name}" + (f" in {rep.run}" if rep.run else ""), rep.embed_unit)


def pixel_space() -> FeatureSpace:
    """Which class an item is of, its nearest neighbours tell about as well by pixels as by random features."""
    return FeatureSpace("the pixels", lambda x: x.flatten(1).numpy())


def _untrained(data: Dataset) -> FeatureSpace:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        encoder = make_encoder(None, data.spec)
        calibrate(encoder.to(best_device()), lambda batch: encoder(encoder.input.unit(batch.x)), data)
    name = data.spec.modality.default_encoder
    return FeatureSpace(
        f"an untrained {name} (seed {SEED})", lambda x: in_fixed(encoder, x, torch.device(best_device()))
    )
