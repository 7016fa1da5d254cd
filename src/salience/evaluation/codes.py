"""What codes say of their items, as far as a method lets it be asked: of test rows it has not seen.

squared error           of the items that codes are decoded to, on the unit scale
active dimensions, mutual information    of codes that are clouds: see evaluation/latent.py; the second is at most
                        log n, 6.9 nats for 1,000 items
log likelihood bound    in nats: of a VAE from 50 draws an item, of a DBM by mean field with log Z by annealing
log likelihood          in nats: of an RBM, with log Z by annealing, whose error is in the interval

Annealing tends to find too small a Z, and so too high a likelihood, the more so the fewer its steps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from salience.data import Dataset
from salience.evaluation.annealing import log_partition, machine_of
from salience.evaluation.latent import active_units, bound, information, posteriors
from salience.evaluation.split import sample
from salience.measures import intervals
from salience.measures.intervals import Metric
from salience.methods.boltzmann.dbm import DBM
from salience.methods.boltzmann.rbm import RBM
from salience.modalities.image.similarity import squared_error
from salience.representation import Representation

MOST_CODES = 1_000  # test rows


def measure_codes(rep: Representation, data: Dataset) -> dict[str, Metric]:
    """The figures that apply; none for a method that neither decodes nor rates items."""
    few = data.subset(sample(np.arange(len(data)), MOST_CODES))
    figures = {}
    if "decodes" in rep.capabilities:
        x = rep.unit(few.batch(np.arange(len(few))))
        errors = squared_error(x, torch.from_numpy(rep.reconstruct(few)))
        figures["squared_error"] = intervals.mean(errors.numpy(), 0.0)
    if hasattr(rep.method, "posterior"):
        mean, log_variance = posteriors(rep.method, few)  # type: ignore[arg-type]
        figures["active_dimensions"] = intervals.bootstrap(mean.cpu().numpy(), units_in_use, 0.0, mean.shape[1])
        figures["mutual_information"] = intervals.mean(information(mean, log_variance).cpu().numpy())
    if "rates" in rep.capabilities:
        figures |= likelihood(rep, rep.method, few)
    return figures


def units_in_use(mean: np.ndarray) -> float:
    return active_units(torch.from_numpy(mean))


def likelihood(rep: Representation, method: Any, data: Dataset) -> dict[str, Metric]:
    if not isinstance(method, RBM | DBM):
        return {"log_likelihood_bound": bound(method, data)}
    found = log_partition(machine_of(method), generator=torch.Generator(rep.device).manual_seed(0))
    of_rows = intervals.mean(rep.log_likelihood(data).astype(np.float64))
    half = math.hypot(of_rows.high - of_rows.value, intervals.Z * found.error)
    value = of_rows.value - found.log_z
    name = "log_likelihood_bound" if isinstance(method, DBM) else "log_likelihood"
    return {name: Metric(value, value - half, value + half)}
