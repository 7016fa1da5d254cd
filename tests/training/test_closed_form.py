"""Rows that do not fit into memory are read in pieces: all of them, in order, and no piece too small to solve."""

import numpy as np
import pytest

from salience.data import open_data
from salience.training.closed_form import Rows
from tests.contract import build


@pytest.mark.parametrize("chunk", [1, 100, 300, 10**6])
def test_pieces_are_all_rows_in_order_and_none_is_smaller_than_the_method_is_wide(chunk):
    data = open_data(np.random.default_rng(0).normal(size=(103, 6)).astype(np.float32), progress=False)
    method = build("pca", data, dim=5)
    rows = Rows(data, method, memory=0, chunk=chunk)
    pieces = list(rows.chunks())
    whole = Rows(data, method).everything()
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert len(whole) == 103
    assert rows.everything() is None
    sizes = [len(piece) for piece in pieces]
    assert min(sizes) >= method.width >= 5
    assert max(sizes) - min(sizes) <= 1
    assert (len(pieces) == 1) is (chunk == 10**6)
