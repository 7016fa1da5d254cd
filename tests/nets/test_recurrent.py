"""The recurrent encoder: torch's own bidirectional GRU of each item alone, whatever the padding and the company."""

import pytest
import torch
from torch import nn

from salience.modalities.table import Column, TableSpec
from salience.nets import Encoder, followed_by, make_input
from salience.nets.make import with_code
from salience.nets.recurrent import GRU, masked_mean

LENGTHS = (1, 5, 8, 3)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return GRU(3, 8, layers=2).eval()


def ragged(t=8, seed=1):
    x = torch.randn(len(LENGTHS), t, 3, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(t) < torch.tensor(LENGTHS)[:, None]


def reference(net):
    """One torch GRU with both directions and the same weights."""
    whole = nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    weights = {}
    for layer, (onward, back) in enumerate(zip(net.forwards, net.backwards, strict=True)):
        for name, value in onward.state_dict().items():
            weights[name.replace("l0", f"l{layer}")] = value
        for name, value in back.state_dict().items():
            weights[name.replace("l0", f"l{layer}_reverse")] = value
    whole.load_state_dict(weights)
    return whole


def test_each_item_is_that_of_torchs_own_network_on_its_real_steps(net):
    x, mask = ragged()
    whole, codes = reference(net), net(x, mask)
    for row, length in enumerate(LENGTHS):
        expected = whole(x[row : row + 1, :length])[0].mean(1)
        torch.testing.assert_close(codes[row : row + 1], expected)


def test_padding_counts_for_nothing(net):
    x, mask = ragged()
    codes = net(x, mask)
    assert torch.equal(net(torch.where(mask[..., None], x, 99.0), mask), codes)
    longer = torch.cat([x, torch.full((len(x), 4, 3), torch.nan)], 1), torch.cat([mask, torch.zeros(len(x), 4) > 0], 1)
    torch.testing.assert_close(net(*longer), codes)


def test_the_company_counts_for_nothing(net):
    x, mask = ragged()
    assert torch.equal(net(x, mask)[[2, 1]], net(x[[2, 1]], mask[[2, 1]]))


def test_steps_that_a_view_leaves_out_are_as_if_they_were_not_there(net):
    x, _ = ragged()
    kept = torch.tensor([True, False, True, True, False, True, False, True]).expand(len(x), -1)
    torch.testing.assert_close(net(x, kept), net(x[:, kept[0]]))


def test_the_order_of_steps_counts(net):
    x, mask = ragged()
    assert not torch.allclose(net(x.flip(1), mask.flip(1)), net(x, mask))


@pytest.mark.parametrize("t", [8, 10])
def test_steps_are_read_several_at_once(t):
    torch.manual_seed(0)
    net = GRU(3, 8, stride=4).eval()
    x, mask = ragged(t)
    tokens, real = net.tokens(x, mask)
    assert tokens.shape == (4, -(-t // 4), 8)
    assert real.sum(1).tolist() == [1, 2, 2, 1]
    padded = torch.zeros(1, 8, 3)
    padded[0, :5] = x[1, :5]
    torch.testing.assert_close(net(x, mask)[1:2], net(padded))


def test_every_weight_learns(net):
    net(*ragged()).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in net.parameters())


def test_an_item_without_steps_is_zero(net):
    x, mask = ragged()
    assert not net(x, mask & False).any()
    assert not masked_mean(x, mask & False).any()


def test_layers_on_a_code_leave_the_mask_to_the_body(net):
    spec = TableSpec((3,), "float32", (Column("a"), Column("b"), Column("c")))
    encoder = Encoder(make_input(spec), net, 8)
    x, mask = ragged()
    code = with_code(encoder, 5)
    torch.testing.assert_close(code(x, mask), code.body[1](net(x, mask)))
    torch.testing.assert_close(followed_by(encoder, nn.Sigmoid())(x, mask), net(x, mask).sigmoid())
