"""Networks of recordings: padding counts for nothing, and an embedding does not depend on its batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from salience.errors import UserError
from salience.modalities.audio.convnet import LogMelNet
from salience.modalities.audio.spec import AudioSpec
from salience.nets import make_decoder, make_encoder

SPEC = replace(AudioSpec.at(8000), bands=20)
FIXED = replace(SPEC, length=1600)  # 21 frames
MASK = torch.arange(30) < torch.tensor([30, 1, 7, 12])[:, None]


def drawn(frames: int = 30, seed: int = 0) -> torch.Tensor:
    return torch.randn(4, frames, 20, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [False, True])
def test_padded_frames_never_influence_the_result(training: bool) -> None:
    net = LogMelNet(SPEC).train(training)
    x = drawn()
    other = x.where(MASK[..., None], torch.full_like(x, 99.0))
    found = net(x, MASK)
    torch.testing.assert_close(net(other, MASK), found)
    longer = torch.nn.functional.pad(x, (0, 0, 0, 50), value=3.0)
    torch.testing.assert_close(net(longer, torch.nn.functional.pad(MASK, (0, 50))), found)
    assert not torch.allclose(net(x, torch.ones_like(MASK)), found)


def test_batch_norms_see_real_frames_only() -> None:
    net, x = LogMelNet(SPEC), drawn()
    net(x, MASK)
    first = net.layers[0]
    single = LogMelNet(SPEC)
    single.load_state_dict(net.state_dict())
    frames = [first.convolution((x[row, : int(MASK[row].sum())])[None, None]) for row in range(4)]  # type: ignore
    values = torch.cat([part.transpose(1, 2)[0].permute(0, 2, 1).flatten(0, 1) for part in frames])
    torch.testing.assert_close(first.norm.running_mean, 0.1 * values.mean(0))  # type: ignore
    torch.testing.assert_close(first.norm.running_var, 0.9 + 0.1 * values.var(0))  # type: ignore


def test_an_embedding_does_not_depend_on_the_batch() -> None:
    net, x = LogMelNet(SPEC).eval(), drawn()
    found = net(x, MASK)
    for row in range(4):
        length = int(MASK[row].sum())
        torch.testing.assert_close(net(x[row : row + 1, :length])[0], found[row])


def test_a_mask_of_real_frames_alone_changes_nothing() -> None:
    for net in (LogMelNet(SPEC), LogMelNet(FIXED, 5)):
        x = drawn(21)
        torch.testing.assert_close(net(x, torch.ones(4, 21, dtype=torch.bool)), net(x))


@pytest.mark.parametrize("name", ["convnet", "mlp", "linear", "test_resnet"])
def test_encoders_and_decoders_of_items_of_one_length(name: str) -> None:
    torch.manual_seed(0)
    encoder, decoder = make_encoder(name, FIXED, dim=6), make_decoder(name, FIXED, 6)
    x, mask = drawn(21), torch.ones(4, 21, dtype=torch.bool)
    assert encoder(x, mask).shape == (4, 6)
    assert decoder(encoder(x)).shape == x.shape
    assert make_encoder(name, FIXED)(x, mask).shape == (4, make_encoder(name, FIXED).dim)


def test_a_code_knows_where_frames_are() -> None:
    torch.manual_seed(0)
    x = torch.zeros(2, 21, 20)
    x[0, 3], x[1, 15] = 1.0, 1.0
    codes = LogMelNet(FIXED, 5).eval()(x)
    assert (codes[0] - codes[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["mlp", "linear", "test_resnet"])
def test_items_of_different_lengths_need_masks(name: str) -> None:
    with pytest.raises(UserError, match="--window"):
        make_encoder(name, SPEC)
    with pytest.raises(UserError, match="--window"):
        make_decoder("convnet", SPEC, 5)


@pytest.mark.parametrize("name", ["nothing", "resnet18:pretrained"])
def test_unknown_encoders_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="encoder"):
        make_encoder(name, FIXED)
