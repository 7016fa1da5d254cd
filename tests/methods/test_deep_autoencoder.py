"""The deep autoencoder: its layers are the paper's, its loss a plain forward pass, and a curve is one number to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.data import open_data
from salience.errors import UserError
from salience.methods import Context
from salience.methods.autoencoders.deep_autoencoder import DeepAutoencoder
from salience.representation import load
from salience.training import fit
from tests import contract


def linears(net: nn.Module) -> list[nn.Linear]:
    return [layer for layer in net.modules() if isinstance(layer, nn.Linear)]


def test_the_papers_layers_are_the_default() -> None:
    dataset = open_data(np.random.default_rng(0).integers(0, 255, (20, 28, 28), dtype=np.uint8), progress=False)
    method = DeepAutoencoder.build(Context(dataset.spec, 20), dim=30)
    assert [layer.out_features for layer in linears(method.encoder)] == [1000, 500, 250, 30]
    assert [layer.out_features for layer in linears(method.decoder)] == [250, 500, 1000, 784]
    wide = DeepAutoencoder.build(Context(dataset.spec, 20), dim=300, hidden=800, depth=4)
    assert [layer.out_features for layer in linears(wide.encoder)] == [800, 400, 300, 300, 300]


def by_hand(net: nn.Module, h: np.ndarray) -> np.ndarray:
    """Layer by layer in numpy, with batch norms as they stand at the start: mean 0, variance 1."""
    layers = linears(net)
    for layer in layers:
        bias = 0 if layer.bias is None else layer.bias.detach().numpy()
        h = h @ layer.weight.detach().numpy().T + bias
        if layer is not layers[-1]:
            h = np.maximum(h / np.sqrt(1 + 1e-5), 0)
    return h


def test_the_loss_is_the_error_of_a_pass_through_all_layers() -> None:
    dataset = contract.structured_images()
    method = contract.build("deep_autoencoder", dataset, dim=5, hidden=24, depth=2).double().eval()
    x = dataset.batch(np.arange(6)).x.numpy().reshape(6, -1) / 255
    code = by_hand(method.encoder, (x - dataset.spec.mean[0]) / dataset.spec.std[0])
    expected = ((x - by_hand(method.decoder, code)) ** 2).mean()
    assert method.loss(dataset.batch(np.arange(6)), Progress())["loss"].item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(method.embed(dataset.batch(np.arange(6))), torch.from_numpy(code), rtol=1e-5, atol=1e-6)


def curve() -> Tensor:
    """A helix of one turn and a half in six dimensions, which fills no line.  [128 6]"""
    t = np.linspace(0, 1, 128)
    flat = np.stack([np.cos(9 * t), np.sin(9 * t), 2 * t], axis=1)
    return torch.from_numpy(flat @ np.random.default_rng(0).normal(size=(3, 6))).float()


def learnt(x: Tensor, steps: int) -> tuple[DeepAutoencoder, Batch, float]:
    """A code of one number, all items in every step.  -> the method, the items, the last step's loss"""
    dataset = open_data(x.numpy(), progress=False)
    torch.manual_seed(0)
    method = DeepAutoencoder.build(Context(dataset.spec, len(x)), dim=1, hidden=64, depth=2)
    batch, optimiser = dataset.batch(np.arange(len(x))), torch.optim.Adam(method.parameters())
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.01 * (1 - step / steps)
        optimiser.zero_grad()
        loss = method.loss(batch, Progress())["loss"]
        loss.backward()
        optimiser.step()
    return method, batch, loss.item()


def left_by_components(rows: Tensor, count: int) -> float:
    """The mean squared error of PCA."""
    return float((torch.linalg.svdvals(rows - rows.mean(dim=0))[count:] ** 2).sum() / rows.numel())


def test_one_number_says_more_of_a_curve_than_two_principal_components() -> None:
    method, batch, loss = learnt(curve(), 300)
    assert loss < 0.5 * left_by_components(method.encoder.input.unit(batch.x), 2)
    assert method.eval().embed(batch).shape == (128, 1)


def test_as_many_codes_as_points_say_all_even_if_each_is_one_number() -> None:
    """The limit of an index: points anywhere in ten dimensions lie on a curve, none of them at another's place."""
    method, batch, loss = learnt(torch.randn(5, 10, generator=torch.Generator().manual_seed(0)), 400)
    assert left_by_components(method.encoder.input.unit(batch.x), 1) > 0.3
    assert loss < 1e-6
    codes = method.embed(batch).flatten().sort().values
    assert codes.diff().min() > 0.1 * codes.std()


@pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
def test_images_get_dense_layers_which_a_run_remembers(tmp_path: Path) -> None:
    dataset = contract.structured_images()
    rep = fit("deep_autoencoder", dataset, out=tmp_path / "run", dim=4, hidden=16, depth=1, **contract.QUICK)
    assert rep.config.model.encoder == "mlp"
    again = load(tmp_path / "run")
    np.testing.assert_array_equal(again.embed(dataset), rep.embed(dataset))
    assert again.method.decode(torch.zeros(2, 4)).shape == (2, 1, 8, 8)


def test_what_does_not_fit_is_refused() -> None:
    dataset = contract.structured_images()
    with pytest.raises(UserError, match=r"^dim: a code of 65 values for items of 64; at most 64"):
        contract.build("deep_autoencoder", dataset, dim=65)
    with pytest.raises(UserError, match=r"^encoder: 'convnet' was given, but deep_autoencoder uses its own"):
        contract.build("deep_autoencoder", dataset, encoder="convnet")
