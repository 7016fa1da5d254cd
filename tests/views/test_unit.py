"""The unit scale of tables, for numbers that float32 cannot hold or tell apart."""

import numpy as np
import pytest
import torch

from salience.data import open_data
from salience.modalities.table.spec import Column, TableSpec
from salience.modalities.table.unit import unit_table


def unit_of(values):
    data = open_data(np.asarray(values, dtype=np.float64)[:, None])
    return unit_table(next(data.chunks()).x, data.spec)[:, 0]


@pytest.mark.parametrize("scale", [1e-250, 1e-40, 1e37, 1e39, 1e200, 1e307])
@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [-3.0, 0.0, 5.0]])
def test_any_magnitude_is_standardised(scale, values):
    x = np.array(values)
    expected = (x - x.mean()) / x.std()
    torch.testing.assert_close(unit_of(x * scale), torch.tensor(expected, dtype=torch.float32))


def test_a_spread_far_below_the_mean_is_kept():
    seconds = 1.7e9 + np.array([0.0, 1.0, 2.0, 3.0])
    expected = (np.arange(4) - 1.5) / np.arange(4).std()
    torch.testing.assert_close(unit_of(seconds), torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-5)


def test_a_missing_value_is_0_in_double_too():
    spec = TableSpec((2,), "float64", columns=(Column("a", mean=1e200, std=1e200), Column("b", mean=3.0, std=1.0)))
    x = torch.tensor([[np.nan, 4.0], [2e200, np.nan]], dtype=torch.float64)
    torch.testing.assert_close(unit_table(x, spec), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_ordinary_columns_are_computed_in_the_type_that_is_asked_for():
    """To the bit, since equal seeds give equal weights."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(3, 2, (50, 3)))
    spec = TableSpec((3,), "float64", columns=tuple(Column(n, mean=3.1, std=1.9) for n in "abc"))
    mean, std = torch.tensor(3.1), torch.tensor(1.9)
    assert torch.equal(unit_table(x, spec), (x.float() - mean) / std)
