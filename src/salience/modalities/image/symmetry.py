"""Whether the data look the same once they are mirrored or turned: then a mirrored view is still an item of the data.

A classifier is trained to tell changed items from others. Where it cannot, the change is harmless: no view drawn with
it gives itself away. It sees single items, never classes, so it takes classes that mirror each other (left and right
hands, arrows) for harmless changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from salience.modalities.image import MIRRORED, NO_FLIP, TURNED
from salience.units import are, counted

MOST_ROWS = 2000  # looked at, half of them changed
LEAST_ROWS = 200  # below it, chance alone may pass the threshold
HARMLESS = 0.6  # AUC below which a change counts as harmless
GRID = 16  # pixels a side at which images are compared: more of them tell no better
DIRECTIONS = 40
FOLDS = 3


def detectability(plain: np.ndarray, changed: np.ndarray, *, seed: int = 0) -> float:
    """How well a classifier tells changed items from others: its cross-validated AUC, 0.5 where it cannot.

    plain, changed: [n d], [m d], rows of different items of the data;  seed: of the folds
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
    """[n c h w], left to right"""
    return x.flip(-1)


def turned(x: Tensor) -> Tensor:
    """[n c h w], by a quarter turn"""
    return x.rot90(1, (-2, -1))


@dataclass(frozen=True)
class VariantChoice:
    """A policy's variant that suits the data, and why."""

    variant: str
    reason: str


def choose_variant(dataset: Any, policy: str) -> VariantChoice:
    """Which changes the views of these images may draw: none, the mirror image, or quarter turns too.

    policy: the default, whose variant is sought, for the words of the reason
    The same data give the same answer: the rows looked at do not depend on the seed of a training.
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
