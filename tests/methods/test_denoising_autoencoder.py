"""The denoising autoencoder: without noise it is the plain one, a linear one is the Wiener filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience.batch import Progress
from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.methods import Context, Method
from salience.methods.autoencoders.denoising_autoencoder import DenoisingAutoencoder
from salience.views.random import Keys
from tests import contract

ROWS, WIDTH, NOISE = 1024, 3, 0.6


@pytest.mark.parametrize("noise", ["masking", "gaussian", "salt-and-pepper"])
def test_without_noise_it_is_the_plain_autoencoder(noise: str) -> None:
    dataset = contract.structured_images()
    plain, denoising = (
        contract.build(name, dataset, dim=9, **options).double()
        for name, options in (("autoencoder", {}), ("denoising_autoencoder", {"noise": noise, "level": 0}))
    )
    denoising.load_state_dict(plain.state_dict())
    losses = []
    for method in (plain, denoising):
        assert isinstance(method, Method)
        loss = method.loss(dataset.batch(np.arange(32)), Progress(epoch=3))["loss"]
        loss.backward()
        losses.append(loss)
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    for one, other in zip(plain.parameters(), denoising.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("noise", ["masking", "gaussian", "salt-and-pepper"])
def test_the_loss_is_the_distance_from_the_clean_item_to_what_is_rebuilt_of_the_noisy_one(noise: str) -> None:
    dataset = contract.structured_images()
    method = contract.build("denoising_autoencoder", dataset, dim=9, noise=noise, level=0.4).double().eval()
    batch, at = dataset.batch(np.arange(20, 40)), Progress(step=7, total=9, epoch=3, seed=5)
    clean = batch.x.float() / 255
    keys = Keys.of(5, 3, batch.index).fold("corruption")
    u, normal = keys.uniform(1, 8, 8), keys.normal(1, 8, 8)
    noisy = {
        "masking": torch.where(u < 0.4, torch.zeros(()), clean),
        "gaussian": clean + 0.4 * normal,
        "salt-and-pepper": torch.where(u < 0.2, torch.zeros(()), torch.where(u < 0.4, torch.ones(()), clean)),
    }[noise]
    rebuilt = method.decoder(method.encoder(noisy))
    expected = sum(((a - b) ** 2).sum() for a, b in zip(rebuilt, clean, strict=True)) / 20 / 64
    torch.testing.assert_close(method.loss(batch, at)["loss"], expected)
    assert not torch.isclose(
        method.loss(batch, Progress(step=7, total=9, epoch=4, seed=5))["loss"], expected, rtol=1e-9
    )
    torch.testing.assert_close(method.embed(batch), method.encoder(clean))  # what is embedded is not corrupted


def table() -> Dataset:
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(ROWS, WIDTH)) @ np.array([[2.0, 1, 0], [0, 1, 1], [0, 0, 0.5]])
    return open_data(mixed.astype(np.float32), progress=False)


def filtering(dataset: Dataset, matrix: Tensor) -> DenoisingAutoencoder:
    """A linear one of full width that maps x to matrix x."""
    method = contract.build(
        "denoising_autoencoder", dataset, encoder="linear", dim=WIDTH, noise="gaussian", level=NOISE
    )
    assert isinstance(method, DenoisingAutoencoder)
    with torch.no_grad():
        for layer, weight in zip(layers(method), (matrix, torch.eye(WIDTH)), strict=True):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    return method


def layers(method: nn.Module) -> list[nn.Linear]:
    return [layer for layer in method.modules() if isinstance(layer, nn.Linear)]


def wiener(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """C (C + s^2 I)^-1 and C of the standardised rows."""
    rows = DenoisingAutoencoder.build(Context(dataset.spec, ROWS), dim=1).encoder.input.unit(
        dataset.batch(np.arange(ROWS)).x
    )
    covariance = rows.T @ rows / ROWS  # their mean is 0
    return covariance @ torch.linalg.inv(covariance + NOISE**2 * torch.eye(WIDTH)), covariance


def expected_loss(method: DenoisingAutoencoder, dataset: Dataset, epochs: int = 40) -> Tensor:
    """Over as many draws of the noise."""
    batch = dataset.batch(np.arange(ROWS))
    return torch.stack([method.loss(batch, Progress(epoch=epoch))["loss"] for epoch in range(epochs)]).mean()


def test_the_wiener_filter_is_a_stationary_point_with_the_least_error() -> None:
    dataset = table()
    best, covariance = wiener(dataset)

    def slope(matrix: Tensor) -> tuple[float, float]:
        method = filtering(dataset, matrix)
        loss = expected_loss(method, dataset)
        loss.backward()
        return max(float(p.grad.abs().max()) for p in method.parameters()), loss.item()

    steep, loss = slope(best)
    least = (torch.trace(covariance) - torch.trace(best @ covariance)) / WIDTH
    assert steep < 0.01
    assert loss == pytest.approx(least.item(), rel=0.02)
    for row in range(WIDTH):
        for column in range(WIDTH):
            for step in (-0.1, 0.1):
                away = best.clone()
                away[row, column] += step
                other, higher = slope(away) if column == 0 else (1.0, expected_loss(filtering(dataset, away), dataset))
                assert higher > loss
                assert other > 3 * steep
    assert slope(torch.eye(WIDTH))[1] == pytest.approx(NOISE**2, rel=0.02)  # copying keeps all of the noise


def test_a_short_training_comes_near_the_wiener_filter() -> None:
    dataset = table()
    best, _ = wiener(dataset)
    method = filtering(dataset, torch.eye(WIDTH))
    optimiser = torch.optim.Adam(method.parameters(), lr=0.02)
    batch = dataset.batch(np.arange(ROWS))
    for step in range(200):
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * (1 - step / 200)
        optimiser.zero_grad()
        method.loss(batch, Progress(epoch=step))["loss"].backward()
        optimiser.step()
    below, above = layers(method)
    torch.testing.assert_close(above.weight @ below.weight, best, atol=0.03, rtol=0)
    assert (best - torch.eye(WIDTH)).abs().max() > 0.2


def test_levels_suit_the_noise_and_shares_end_at_1() -> None:
    dataset = contract.structured_images()
    levels = {noise: built(dataset, noise=noise).level for noise in ("masking", "gaussian", "salt-and-pepper")}
    assert levels == {"masking": 0.25, "gaussian": 0.3, "salt-and-pepper": 0.1}
    assert built(dataset, noise="gaussian", level=2.0).level == 2.0
    with pytest.raises(UserError, match=r"^level: 2 is no share of the values; masking takes at most 1"):
        built(dataset, level=2.0)


def built(dataset: Dataset, **options: object) -> DenoisingAutoencoder:
    method = contract.build("denoising_autoencoder", dataset, **options)
    assert isinstance(method, DenoisingAutoencoder)
    return method
