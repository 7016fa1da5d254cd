"""Decoders: any size back on the unit scale, starting at the data's mean; the linear one can be PCA."""

import pytest
import torch
from torch import nn

from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec
from salience.nets import make_decoder


def images(channels=3, size=32):
    mean, std = (0.6, 0.3, 0.1)[:channels], (0.2,) * channels
    return ImageSpec((channels, size, size), "uint8", 0, 255, mean, std)


TABLE = TableSpec((2,), "float32", columns=(Column("a"), Column("b", "category", ("x", "y", "z"))))


@pytest.mark.parametrize("name", [None, "convnet", "resnet18", "mlp", "linear"])
@pytest.mark.parametrize("spec", [images(), images(1, 8), images(1, 28), images(3, 45), images(1, 5)])
def test_a_code_becomes_an_image(name, spec):
    decoder = make_decoder(name, spec, 6)
    out = decoder(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
    assert out.shape == (3, *spec.shape)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


@pytest.mark.parametrize("name", ["convnet", "mlp", "linear"])
def test_reconstruction_starts_at_the_mean_colour(name):
    torch.manual_seed(0)
    decoder = make_decoder(name, images(), 6).eval()
    out = decoder(torch.randn(200, 6)).mean((0, 2, 3))
    torch.testing.assert_close(out, torch.tensor([0.6, 0.3, 0.1]), atol=0.15, rtol=0)


@pytest.mark.parametrize("name", [None, "mlp", "linear"])
def test_a_code_becomes_a_row(name):
    assert make_decoder(name, TABLE, 5)(torch.randn(3, 5)).shape == (3, 4)


def test_kinds():
    assert any(isinstance(layer, nn.Conv2d) for layer in make_decoder("resnet18", images(), 4).modules())
    assert not any(isinstance(layer, nn.Conv2d) for layer in make_decoder("mlp", images(), 4).modules())
    linear = [layer for layer in make_decoder("linear", images(), 4).modules() if list(layer.parameters(False))]
    assert [type(layer) for layer in linear] == [nn.Linear]
