"""The contractive autoencoder: its penalty is autograd's Jacobian, its estimate is right on average."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from salience.batch import Progress
from salience.data import Dataset, open_data
from salience.methods.autoencoders.contractive_autoencoder import ContractiveAutoencoder, contraction
from tests import contract
from tests.methods.proof import assert_same_value_and_gradient, train_by_hand

AT = Progress(step=3, total=10, epoch=1, seed=2)


def built(dataset: Dataset | None = None, *, encoder: str = "mlp", **options: object) -> ContractiveAutoencoder:
    method = contract.build(
        "contractive_autoencoder", dataset or contract.structured_images(), encoder=encoder, **options
    )
    assert isinstance(method, ContractiveAutoencoder)
    return method


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("encoder", ["mlp", "convnet", "vit_tiny_patch16_224"])
def test_the_norm_is_that_of_autograds_jacobian(encoder: str) -> None:
    network = built(encoder=encoder, dim=4).double().encoder
    x = drawn(3, 1, 8, 8).sigmoid()
    code, norms = contraction(x, None, encode=network)
    torch.testing.assert_close(code, network(x))
    for item, norm in zip(x, norms, strict=True):
        whole = jacobian(lambda one: network(one[None])[0], item)
        torch.testing.assert_close(norm, whole.square().sum(), rtol=1e-9, atol=1e-12)


def test_a_sigmoid_layer_has_a_closed_form_in_value_and_gradient() -> None:
    layer, x = nn.Linear(7, 5).double(), drawn(6, 7)
    norms = contraction(x, None, encode=lambda item: layer(item).sigmoid())[1]
    h = torch.sigmoid(x @ layer.weight.T + layer.bias)
    closed = torch.stack(
        [sum((h[i, j] * (1 - h[i, j])) ** 2 * (layer.weight[j] ** 2).sum() for j in range(5)) for i in range(6)]
    )
    torch.testing.assert_close(norms, closed)
    assert_same_value_and_gradient(norms.sum(), closed.sum(), (layer.weight, layer.bias))


def test_a_linear_layer_has_the_norm_of_its_weights() -> None:
    layer = nn.Linear(7, 5).double()
    norms = contraction(drawn(6, 7), None, encode=layer)[1]
    torch.testing.assert_close(norms, layer.weight.square().sum().expand(6))


@pytest.mark.parametrize("encoder", ["linear", "mlp", "convnet"])
def test_the_estimate_is_right_on_average_over_all_signs_in_value_and_gradient(encoder: str) -> None:
    network = built(encoder=encoder, dim=4).double().encoder
    x = drawn(3, 1, 8, 8).sigmoid()
    exact = contraction(x, None, encode=network)[1]
    all_signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)))
    estimates = [contraction(x, signs.expand(3, 4), encode=network)[1] for signs in all_signs]
    assert torch.stack(estimates).std(dim=0).min() > 0
    assert_same_value_and_gradient(torch.stack(estimates).mean(dim=0).sum(), exact.sum(), tuple(network.parameters()))


def test_signs_are_fair_and_an_items_own() -> None:
    dataset = contract.structured_images()
    method = built(dataset, dim=200)
    signs = method._signs(dataset.batch(np.arange(96)), AT)
    assert signs is not None
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(signs.mean().item()) < 0.02
    gram = signs @ signs.T / 200
    assert (gram - torch.eye(96)).abs().max() < 0.4  # independent: a deviation of 0.07
    torch.testing.assert_close(method._signs(dataset.batch(np.array([7])), AT), signs[7:8])
    other = method._signs(dataset.batch(np.arange(96)), Progress(epoch=2, seed=2))
    assert not torch.equal(other, signs)


@pytest.mark.parametrize("encoder", ["mlp", "convnet"])
@pytest.mark.parametrize("estimate", ["exact", "hutchinson"])
def test_a_batchs_loss_is_the_mean_of_its_items_own(encoder: str, estimate: str) -> None:
    dataset = contract.structured_images()
    method = built(dataset, encoder=encoder, dim=5, estimate=estimate, weight=2.0).double().train()
    whole = method.loss(dataset.batch(np.arange(6)), AT)["loss"]
    parts = [method.loss(dataset.batch(np.array([row])), AT)["loss"] for row in range(6)]
    torch.testing.assert_close(whole, torch.stack(parts).mean(), rtol=1e-9, atol=1e-12)


def test_the_loss_is_the_formula() -> None:
    dataset = contract.structured_images()
    method = built(dataset, encoder="linear", dim=5, weight=0.7).double()
    layer, atoms = next(m for m in method.encoder.modules() if isinstance(m, nn.Linear)), method.decoder.atoms[0]
    mean, std = dataset.spec.mean[0], dataset.spec.std[0]
    x = dataset.batch(np.arange(12)).x.double().flatten(1) / 255
    h = torch.sigmoid((x - mean) / std @ layer.weight.T + layer.bias)
    error = ((x - (h - 0.5) @ atoms.weight.T * (64 * std**2) ** 0.5 - atoms.bias) ** 2).mean()
    norms = ((h * (1 - h)) ** 2 @ (layer.weight / std).square().sum(dim=1)).mean()
    terms = method.loss(dataset.batch(np.arange(12)), AT)
    torch.testing.assert_close(terms["contraction"], norms, rtol=1e-5, atol=0)
    torch.testing.assert_close(terms["loss"], error + 0.7 * std**4 * norms, rtol=1e-5, atol=0)


def test_with_orthogonal_columns_a_linear_codes_penalty_is_what_noise_adds_to_the_error() -> None:
    """Noise in x of variance weight v, for a code W x and its item R U W x, U with orthogonal columns."""
    width, dim, weight, v = 6, 3, 0.2, 0.3
    length = (width * v) ** 0.5
    code, columns = drawn(dim, width), torch.linalg.qr(drawn(width, dim, seed=1))[0]
    noise = weight * v * (length * columns @ code).square().sum() / width  # E |R U W n|^2 / width
    penalty = weight * v**2 * contraction(drawn(2, width), None, encode=lambda x: x @ code.T)[1].mean()
    torch.testing.assert_close(penalty, noise)


def test_half_precision_leaves_the_penalty_in_full_and_its_gradient_finite() -> None:
    dataset = contract.structured_images()
    method = built(dataset, encoder="convnet", dim=40, weight=1.0)
    batch = dataset.batch(np.arange(16))
    full = method.loss(batch, AT)
    with torch.autocast("cpu", torch.bfloat16):
        half = method.loss(batch, AT)
    assert torch.equal(half["contraction"], full["contraction"])
    assert {value.dtype for value in half.values()} == {torch.float32}
    half["loss"].backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in method.encoder.parameters())


def test_it_can_be_looked_at_without_gradients() -> None:
    dataset = contract.structured_images()
    method = built(dataset, dim=3)
    with_gradients = method.loss(dataset.batch(np.arange(9)), AT)["loss"]
    with torch.no_grad():
        assert torch.equal(method.loss(dataset.batch(np.arange(9)), AT)["loss"], with_gradients)


def test_more_weight_makes_the_code_contract_more_and_atoms_keep_their_length() -> None:
    def learnt(weight: float) -> dict[str, Tensor]:
        generator = np.random.default_rng(0)
        dataset = open_data(generator.normal(size=(64, 6)) @ generator.normal(size=(6, 6)), progress=False)
        method = built(dataset, dim=8, weight=weight)
        train_by_hand(method, dataset, steps=60, rate=0.1)
        lengths = method.decoder.directions.norm(dim=0)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
        return method.loss(dataset.batch(np.arange(64)), AT)

    little, much = learnt(0.0), learnt(2.0)
    assert much["contraction"] < 0.5 * little["contraction"]
    assert much["error"] > little["error"]


def test_small_codes_are_exact_and_large_ones_estimated() -> None:
    assert [built(dim=dim).estimate for dim in (16, 17)] == ["exact", "hutchinson"]
    assert built(dim=40, estimate="exact")._signs(contract.structured_images().batch(np.arange(2)), AT) is None
    assert built().dim == 128
