"""Masked convolutions: a pixel is told from those before it, and from them alone; so chances of images add up to 1."""

from itertools import product

import pytest
import torch

from salience.methods.generative.vae import Density
from salience.modalities.image.raster import Masked, Raster
from tests.nets.test_decoders import images


def raster(channels=1, **options):
    """With weights everywhere, also where training begins with none."""
    torch.manual_seed(0)
    net = Raster(channels, **options).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


@pytest.mark.parametrize(("itself", "mask"), [(False, "111 100 000"), (True, "111 110 000")])
def test_a_window_sees_what_comes_before_and_its_own_place_where_it_may(itself, mask):
    convolution = Masked(1, 1, 3, itself=itself)
    torch.nn.init.ones_(convolution.weight)
    dot = torch.zeros(1, 1, 5, 5)
    dot[..., 2, 2] = 1
    answer = (convolution(dot) - convolution.bias).detach()[0, 0, 1:4, 1:4].flip(0, 1)  # who sees it -> what one sees
    assert " ".join("".join(f"{value:.0f}" for value in row) for row in answer) == mask


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_hears_of_those_before_it_alone(channels):
    net = raster(channels, width=8, depth=2)
    told, x = torch.randn(2, 1, channels, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    heard = torch.autograd.functional.jacobian(lambda values: net(told, values).sum(1), x)  # [1 5 6 1 c 5 6]
    heard = heard.abs().sum(dim=4).reshape(30, 30)
    assert not heard.triu().any()
    for row, column in ((0, 1), (1, 0), (2, 3), (4, 5)):  # the one to the left, those above
        here = 6 * row + column
        near = [6 * r + c for r in range(row + 1) for c in range(6) if 6 * r + c < here and abs(c - column) <= 3]
        assert (heard[here, [place for place in near if here // 6 - place // 6 <= 3]] > 0).all()


def test_what_the_code_tells_of_a_pixel_is_heard_there_and_later():
    net = raster(width=8, depth=2)
    told, x = torch.randn(2, 1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    heard = torch.autograd.functional.jacobian(lambda values: net(values, x), told).reshape(16, 16).abs()
    assert not heard.triu(1).any()
    assert (heard.diagonal() > 0).all()
    assert heard.tril(-1).any()


@pytest.mark.parametrize("spec", [images(1, 3), images(2, 2)])
def test_the_chances_of_all_images_add_up_to_one(spec):
    density = Density("bernoulli", spec, autoregressive=True).double()
    density.raster = raster(spec.channels)
    count = spec.channels * spec.resolution**2
    every = torch.tensor(list(product((0.0, 1.0), repeat=count)), dtype=torch.float64).view(-1, *spec.shape)
    told = torch.randn(1, *spec.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    chances = (-density(told.expand(len(every), -1, -1, -1), every)).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-12)
    assert chances.std() > 1e-4
    alone = (-Density("bernoulli", spec)(told.expand(len(every), -1, -1, -1), every)).exp()
    assert (chances - alone).abs().max() > 1e-3  # the pixels before do say something


def test_at_first_it_corrects_nothing():
    told, x = torch.randn(2, 3, 1, 6, 6)
    assert torch.equal(Raster(1)(told, x), told)
