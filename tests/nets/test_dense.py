"""Dense nets of a chosen depth; codes that end in a linear layer; group norms in the places of batch norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from salience.errors import UserError
from salience.modalities import Spec
from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec
from salience.nets import (
    Dictionary,
    dense_decoder,
    dense_encoder,
    followed_by,
    halving,
    item_by_item,
    last_layer,
    make_encoder,
)

IMAGES = ImageSpec((3, 8, 8), "uint8", 0, 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.1))
TABLE = TableSpec((2,), "float32", columns=(Column("a"), Column("b", "category", ("x", "y", "z"))))


def test_widths_halve_down_to_the_least() -> None:
    assert halving(1000, 3) == (1000, 500, 250)
    assert halving(1000, 5, least=100) == (1000, 500, 250, 125, 100)


@pytest.mark.parametrize("spec", [IMAGES, TABLE])
def test_the_decoder_mirrors_the_encoder(spec: Spec) -> None:
    def shapes(net: nn.Module) -> list[tuple[int, int]]:
        return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]

    encoder, decoder = dense_encoder(spec, 3, (20, 10)), dense_decoder(spec, 3, (10, 20))
    width = 192 if spec is IMAGES else 4
    assert shapes(encoder) == [(width, 20), (20, 10), (10, 3)]
    assert shapes(decoder) == [(3, 10), (10, 20), (20, width)]
    assert decoder(encoder(torch.rand(5, *((3, 8, 8) if spec is IMAGES else (4,))))).shape[1:] == (
        (3, 8, 8) if spec is IMAGES else (4,)
    )


@pytest.mark.parametrize(
    ("name", "dim"), [("mlp", 256), ("mlp", 7), ("convnet", 256), ("linear", 5), ("resnet18", 512)]
)
def test_a_code_of_any_width_ends_in_a_linear_layer(name: str, dim: int) -> None:
    encoder = make_encoder(name, IMAGES, dim=dim)
    assert last_layer(encoder).out_features == encoder.dim == dim
    with pytest.raises(TypeError, match="has no code"):
        last_layer(make_encoder(name, IMAGES) if name != "linear" else followed_by(encoder, nn.ReLU()))


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet18", "vit_tiny_patch16_224"])
def test_an_item_is_on_its_own_where_batch_norms_were(name: str) -> None:
    torch.manual_seed(0)
    encoder = item_by_item(make_encoder(name, IMAGES, dim=4)).double().train()
    x = torch.rand(6, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(encoder(x)[2:3], encoder(x[2:3]))
    assert not [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_a_group_norm_is_over_all_of_an_items_channels() -> None:
    torch.manual_seed(0)
    norm = next(m for m in item_by_item(make_encoder("mlp", TABLE)).modules() if isinstance(m, nn.GroupNorm))
    x = torch.randn(5, 256) * 3 + 1
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    torch.testing.assert_close(norm(x), expected)


def test_a_norm_that_does_more_is_refused() -> None:
    with pytest.raises(UserError, match=r"^encoder: its BatchNormAct2d layers mix the items"):
        item_by_item(make_encoder("mobilenetv3_small_050", IMAGES, dim=4))


@pytest.mark.parametrize("spec", [IMAGES, TABLE])
def test_atoms_are_as_long_as_a_typical_item_is_far_from_the_mean(spec: Spec) -> None:
    atoms = Dictionary(5, spec)
    with torch.no_grad():
        atoms.directions.mul_(torch.tensor([0.1, 2.0, 3.0, 40.0, 1.0]))
    atoms.project()
    apart = (atoms(torch.eye(5)) - atoms(torch.zeros(1, 5))).flatten(1).norm(dim=1)
    typical = (64 * (0.2**2 + 0.25**2 + 0.1**2)) ** 0.5 if spec is IMAGES else 2.0  # of 4 values with variance 1
    torch.testing.assert_close(apart, torch.full((5,), typical))
    assert [type(m) for m in atoms.modules() if list(m.parameters(recurse=False))] == [nn.Linear]  # nothing else grows
    if spec is IMAGES:
        torch.testing.assert_close(atoms(torch.zeros(1, 5)).mean((0, 2, 3)), torch.tensor(spec.mean))
