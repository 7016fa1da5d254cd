"""How near reconstructions are to their items, by the measures of their kind of data: means with intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from salience.measures import intervals
from salience.measures.intervals import Metric
from salience.modalities import Modality

SHOWN = {"mse": "MSE", "psnr": "PSNR (dB)", "ssim": "SSIM"}
LIMITS = {"mse": (0.0, np.inf), "psnr": (-np.inf, 100.0), "ssim": (-1.0, 1.0)}  # of other measures: none


def fidelity(x: Tensor, y: Tensor, modality: Modality) -> dict[str, np.ndarray]:
    """Per item, by measure.  x, y: unit scale -> name -> [n]"""
    return {name: values.numpy() for name, values in modality.compare(x, y).items()}


def means(values: Mapping[str, np.ndarray]) -> dict[str, Metric]:
    """Means over items, with t intervals.  name -> [n]"""
    return {name: intervals.mean(column, *LIMITS.get(name, (-np.inf, np.inf))) for name, column in values.items()}
