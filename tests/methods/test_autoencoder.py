"""The autoencoder: a linear one spans PCA's subspace; its error against a loop; what it decodes is an item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from salience.batch import Progress
from salience.data import open_data
from salience.errors import UserError
from salience.methods import Context
from salience.methods.autoencoders.autoencoder import Autoencoder, reconstruction_error
from salience.training import fit


def test_the_error_is_the_mean_over_items_and_values() -> None:
    x, y = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    by_hand = sum((float(a) - float(b)) ** 2 for a, b in zip(x.flatten(), y.flatten(), strict=True)) / x.numel()
    assert reconstruction_error(x, y).item() == pytest.approx(by_hand, rel=1e-12)


def test_a_linear_one_spans_the_subspace_of_pca(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(256, 3)) @ generator.normal(size=(3, 8)) * 2).astype(np.float32)
    x += 0.5 * generator.normal(size=x.shape).astype(np.float32)
    dataset = open_data(x, progress=False)
    settings = {"encoder": "linear", "epochs": 200, "batch_size": 64, "learning_rate": 0.02, "progress": False}
    rep = fit("autoencoder", dataset, out=tmp_path / "ae", dim=3, **settings)
    rows = rep.method.encoder.input.unit(dataset.batch(np.arange(len(x))).x)
    centred = rows - rows.mean(dim=0)
    _, values, vectors = torch.linalg.svd(centred, full_matrices=False)
    learnt = torch.linalg.qr(rep.method.decoder(torch.eye(3)).T - rep.method.decoder(torch.zeros(1, 3)).T)[0]
    assert torch.linalg.svdvals(vectors[:3] @ learnt).min() > 0.999  # cosines of the principal angles
    rebuilt = rep.method.decode(torch.from_numpy(rep.embed(dataset)))
    error, least = ((rebuilt - rows) ** 2).sum().item(), (values[3:] ** 2).sum().item()
    assert least * 0.999 <= error < least * 1.05


def test_the_principal_components_are_the_optimum_of_a_linear_one_to_the_last_digit() -> None:
    """There the loss is the variance PCA leaves, no gradient is left, and any other subspace costs more."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator) @ torch.randn(5, 5, generator=generator)
    dataset = open_data(x.numpy(), progress=False)
    method = Autoencoder.build(Context(dataset.spec, 64, "linear"), dim=2)
    batch = dataset.batch(np.arange(64))
    rows = method.encoder.input.unit(batch.x)
    _, values, vectors = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    up, down = method.encoder.body[1], method.decoder[0]

    def loss_with(directions: torch.Tensor) -> torch.Tensor:
        method.zero_grad()
        with torch.no_grad():
            up.weight.copy_(directions)
            up.bias.copy_(-directions @ rows.mean(dim=0))
            down.weight.copy_(directions.T)
            down.bias.copy_(rows.mean(dim=0))
        loss = method.loss(batch, Progress())["loss"]
        loss.backward()
        return loss.detach()

    least = loss_with(vectors[:2])
    torch.testing.assert_close(least, (values[2:] ** 2).sum() / rows.numel())
    assert max(float(part.grad.abs().max()) for part in method.parameters()) < 1e-6
    assert loss_with(vectors[1:3]) > 1.01 * least


@pytest.mark.parametrize("encoder", ["convnet", "mlp"])
def test_decodes_to_items_from_a_narrow_code(encoder: str) -> None:
    dataset = open_data(np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8), progress=False)
    method = Autoencoder.build(Context(dataset.spec, 20, encoder), dim=5)
    codes = method.embed(dataset.batch(np.arange(20)))
    assert codes.shape == (20, 5)
    assert method.decode(codes).shape == (20, 1, 8, 8)


def test_a_code_wider_than_the_item_is_refused() -> None:
    dataset = open_data(np.random.default_rng(0).normal(size=(20, 4)), progress=False)
    with pytest.raises(UserError, match=r"dim: a code of 9 values for items of 4"):
        Autoencoder.build(Context(dataset.spec, 20), dim=9)
