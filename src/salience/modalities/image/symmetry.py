"""Test whether mirrored or turned images are still typical of the data, so that views may use flips and turns.

A classifier is trained to distinguish changed items from unchanged ones. If it cannot, the change is harmless. The test
sees single items and no classes, so it cannot detect classes that mirror each other (left and right hands, arrows).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from salience.modalities.image import MIRRORED, NO_FLIP, TURNED
from salience.units import are, counted

MOST_ROWS = 2000  # number of examined items, half of them changed
LEAST_ROWS = 200  # with fewer items, the AUC may pass the threshold by chance
HARMLESS = 0.6  # AUC below which a change counts as harmless
GRID = 16  # pixels per side at which images are compared; more pixels do not improve the test
DIRECTIONS = 40
FOLDS = 3


def detectability(plain: np.ndarray, changed: np.ndarray, *, seed: int = 0) -> float:
    """Return the cross-validated AUC of a classifier of changed items; 0.5 if it cannot detect them.

    Args:
        plain: [n d] unchanged items.
        changed: [m d] changed items, of other rows of the data.
        seed: Random seed of the folds.
    """
    from sklearn.decomposition import PCA
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import SVC
    from threadpoolctl import threadpool_limits

    x = np.concatenate([plain, changed]).astype(np.float32)
    if (x == x[:1]).all():
        return 0.5
    y = np.repeat([0, 1], [len(plain), len(changed)])
    with threadpool_limits(1):
        codes = PCA(min(DIRECTIONS, *x.shape), svd_solver="randomized", random_state=seed).fit_transform(x)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        return float(cross_val_score(SVC(), codes, y, cv=folds, scoring="roc_auc").mean())


def mirrored(x: Tensor) -> Tensor:
    """Mirror images [n c h w] left to right."""
    return x.flip(-1)


def turned(x: Tensor) -> Tensor:
    """Turn images [n c h w] by 90 degrees."""
    return x.rot90(1, (-2, -1))


@dataclass(frozen=True)
class VariantChoice:
    """The variant of a policy that suits the data, with the reason."""

    variant: str
    reason: str


def choose_variant(dataset: Any, policy: str) -> VariantChoice:
    """Choose the changes that views of these images may use: none, flips, or flips and quarter turns.

    The choice does not depend on the seed of a training.

    Args:
        dataset: The images.
        policy: Name of the default policy, for the reason.
    """
    if len(dataset) < LEAST_ROWS:
        few = f"{counted(len(dataset), 'image')} {are(len(dataset))} too few to test flips"
        return VariantChoice(MIRRORED, f"{few}; to disable flips, use --views {policy}{NO_FLIP}")
    rows = np.random.default_rng(0).permutation(len(dataset))[:MOST_ROWS]
    x = dataset.batch(rows).x.float()
    x = F.adaptive_avg_pool2d(x, min(GRID, x.shape[-1]))
    plain, other = x[: len(x) // 2], x[len(x) // 2 :]
    flip = detectability(_as_rows(plain), _as_rows(mirrored(other)))
    if flip >= HARMLESS:
        return VariantChoice(
            NO_FLIP,
            f"no flips: a classifier detects mirrored images (AUC {flip:.2f}, harmless below {HARMLESS}); "
            f"for digits and letters, use --views glyphs; to enable flips, use --views {policy}",
        )
    turn = detectability(_as_rows(plain), _as_rows(turned(other)))
    variant, done = (TURNED, "flips and quarter turns") if turn < HARMLESS else (MIRRORED, "flips, no quarter turns")
    return VariantChoice(
        variant,
        f"{done}: a classifier detects mirrored images with AUC {flip:.2f}, turned ones with {turn:.2f} (harmless "
        f"below {HARMLESS}); if classes mirror each other, as left and right hands, use --views {policy}{NO_FLIP}",
    )


def _as_rows(x: Tensor) -> np.ndarray:
    return x.flatten(1).numpy()
