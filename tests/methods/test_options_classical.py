"""What each option of the classical methods does."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans as Reference

from salience.data import open_data
from salience.errors import UserError
from salience.training import fit
from tests.methods.effects import Effects, assert_rises, dataset_for, options_of_family

EFFECTS = Effects()


def fitted(name: str, folder: Any, data: Any = None, **options: Any) -> Any:
    return fit(name, dataset_for(name) if data is None else data, out=folder / "run", progress=False, **options)


@pytest.fixture
def folders(tmp_path: Any) -> Any:
    return (tmp_path / str(number) for number in itertools.count())


@EFFECTS.of("pca.dim")
def directions(folders: Any, option: str) -> None:
    """So many, the leading ones: they are the first of more, and explain more than any later one."""
    few, many = (fitted("pca", next(folders), dim=dim) for dim in (3, 7))
    assert (few.dim, many.dim) == (3, 7)
    codes = [rep.embed(dataset_for("pca")) for rep in (few, many)]
    np.testing.assert_allclose(np.abs(codes[0]), np.abs(codes[1][:, :3]), rtol=1e-4, atol=1e-5)
    assert_rises(many.method.variances.flip(0))
    assert fitted("pca", next(folders)).dim == 64
    with pytest.raises(UserError, match="at most 64"):
        fitted("pca", next(folders), dim=65)


@EFFECTS.of("kmeans.k")
def centres(folders: Any, option: str) -> None:
    inertia = []
    for k in (30, 3, 1):
        rep = fitted("kmeans", next(folders), k=k)
        codes = rep.embed(dataset_for("kmeans"))
        assert codes.shape == (96, k)
        inertia.append((codes.min(axis=1) ** 2).sum())
    assert_rises(inertia)
    with pytest.raises(UserError, match="at most 96"):
        fitted("kmeans", next(folders), k=97)


@EFFECTS.of("kmeans.restarts")
def the_tightest_of_several_runs_is_kept(folders: Any, option: str) -> None:
    """As scikit-learn keeps it, with as many; tighter than one run where nothing is clustered."""
    rows = np.random.default_rng(0).uniform(size=(400, 2))
    data = open_data(rows, progress=False)
    unit = (rows - rows.mean(0)) / rows.std(0)
    inertia = {}
    for restarts in (1, 10):
        codes = fitted("kmeans", next(folders), data, k=30, restarts=restarts, seed=0).embed(data)
        inertia[restarts] = (codes.min(axis=1) ** 2).sum()
        theirs = Reference(30, n_init=restarts, algorithm="elkan", random_state=0).fit(unit)
        assert inertia[restarts] == pytest.approx(theirs.inertia_, rel=1e-6)
    assert inertia[10] < inertia[1]


@pytest.mark.parametrize("key", sorted(EFFECTS))
def test_the_option_does_what_its_help_says(key: str, folders: Any) -> None:
    EFFECTS[key](folders, key)


def test_no_option_is_left_out() -> None:
    assert set(EFFECTS) == options_of_family("classical")
