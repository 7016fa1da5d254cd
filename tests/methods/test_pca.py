"""PCA against the singular value decomposition and its closed-form error, at once and chunk by chunk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from salience.data import open_data
from salience.errors import UserError
from salience.methods import Context
from salience.methods.classical.pca import PCA
from salience.training.closed_form import Rows

N, WIDTH, DIM = 300, 12, 4


def table() -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(size=(N, WIDTH)) @ generator.normal(size=(WIDTH, WIDTH)) * np.linspace(1, 5, WIDTH) + 7


CHUNK = 70 * WIDTH * 8  # bytes: four parts of 75 rows


def fitted(x: np.ndarray, memory: int = 2**30, **options: int) -> tuple[PCA, torch.Tensor]:
    dataset = open_data(x, progress=False)
    method = PCA.build(Context(dataset.spec, len(dataset)), **options)
    method.fit_rows(Rows(dataset, method, memory=memory, chunk=CHUNK), seed=0)
    return method, method.flat(dataset.batch(np.arange(len(dataset))))


def spectrum(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    _, values, vectors = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    return values**2, vectors


def test_components_are_the_leading_singular_vectors() -> None:
    method, rows = fitted(table(), dim=DIM)
    _, vectors = spectrum(rows)
    cosines = (method.components * vectors[:DIM]).sum(dim=1).abs()
    torch.testing.assert_close(cosines, torch.ones(DIM, dtype=rows.dtype), rtol=1e-6, atol=1e-6)


def test_the_error_left_is_the_sum_of_the_discarded_eigenvalues() -> None:
    method, rows = fitted(table(), dim=DIM)
    squares, _ = spectrum(rows)
    rebuilt = method.decode(method.embed_rows(rows))
    assert ((rebuilt - rows) ** 2).sum().item() == pytest.approx(squares[DIM:].sum().item(), rel=1e-6)


def test_chunk_by_chunk_spans_nearly_the_same_subspace() -> None:
    generator = np.random.default_rng(0)
    rows = 3 * generator.normal(size=(N, DIM)).repeat(WIDTH // DIM, axis=1) + generator.normal(size=(N, WIDTH))  # a gap
    whole, _ = fitted(rows, dim=DIM)
    parts, _ = fitted(rows, memory=1, dim=DIM)
    reader = Rows(open_data(rows, progress=False), parts, memory=1, chunk=CHUNK)
    assert not reader.fits
    assert [len(chunk) for chunk in reader.chunks()] == [75] * 4
    overlap = torch.linalg.svdvals(whole.components @ parts.components.T)
    assert overlap.min() > 0.99


def test_the_default_dimension_is_clamped_and_an_explicit_one_refused() -> None:
    assert fitted(table())[0].dim == WIDTH
    with pytest.raises(UserError, match=r"dim: 13 .* at most 12"):
        fitted(table(), dim=13)


def test_double_rows_give_double_embeddings() -> None:
    method, rows = fitted(table(), dim=2)
    assert method.embed_rows(rows).dtype == torch.float64
