"""Networks, the unit scale and pictures of series."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from salience.errors import UserError
from salience.modalities.series import SeriesSpec
from salience.modalities.series.convnet import ConvNet, MaskedNorm
from salience.modalities.series.pictures import HEIGHT, WIDTH, draw_series
from salience.nets import make_decoder, make_encoder
from salience.nets.recurrent import GRU

MEAN, STD = (1.0, -200.0), (2.0, 50.0)
DENSE = SeriesSpec((20, 2), "float32", mean=MEAN, std=STD, steps=20)
RAGGED = SeriesSpec((2,), "float32", mean=MEAN, std=STD, steps=20)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(5, 24, 2), torch.arange(24) < torch.tensor([[24], [17], [16], [3], [1]])


@pytest.mark.parametrize("name", ["convnet", "gru"])
def test_padding_and_company_count_for_nothing(name: str) -> None:
    x, mask = batch()
    encoder = make_encoder(name, RAGGED, dim=6)
    encoder(x, mask)  # running statistics of batch norm
    encoder.eval()
    codes = encoder(x, mask)
    torch.testing.assert_close(encoder(torch.where(mask[..., None], x, 99.0), mask), codes)
    longer = torch.cat([x, x], 1), torch.cat([mask, mask & False], 1)
    torch.testing.assert_close(encoder(*longer), codes)
    for row, length in enumerate(mask.sum(1).tolist()):
        torch.testing.assert_close(encoder(x[row : row + 1, :length]), codes[row : row + 1], rtol=1e-4, atol=1e-5)


def test_padding_counts_for_nothing_in_training_too() -> None:
    x, mask = batch()
    net = ConvNet(2)
    longer = torch.cat([x, x], 1), torch.cat([mask, mask & False], 1)
    torch.testing.assert_close(net(*longer), net(x, mask))


def test_masked_batch_norm_is_that_of_the_real_steps() -> None:
    x, mask = torch.randn(5, 3, 24), batch()[1]
    norm = MaskedNorm(3)
    rows = x.transpose(1, 2)[mask]
    expected = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
    out = norm(x, mask)
    torch.testing.assert_close(out.transpose(1, 2)[mask], expected)
    assert not out.transpose(1, 2)[~mask].any()
    torch.testing.assert_close(norm(x, None), nn.BatchNorm1d(3)(x))


def test_every_weight_of_the_convnet_learns() -> None:
    net = ConvNet(2)
    net(*batch()).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())


@pytest.mark.parametrize("steps", [1, 2, 20, 31])
def test_decoders_give_series_of_the_length(steps: int) -> None:
    spec = SeriesSpec((steps, 2), "float32", mean=MEAN, std=STD, steps=steps)
    for name in ("convnet", "mlp", "linear"):
        assert make_decoder(name, spec, 5)(torch.randn(3, 5)).shape == (3, steps, 2)


def test_encoders_by_name() -> None:
    for name in ("convnet", "gru", "mlp", "linear"):
        assert make_encoder(name, DENSE, dim=4)(torch.randn(3, 20, 2)).shape == (3, 4)
    with pytest.raises(UserError, match="mlp"):
        make_encoder("mlp", RAGGED)
    with pytest.raises(UserError, match="resnet18"):
        make_encoder("resnet18", DENSE)
    long = make_encoder("gru", SeriesSpec((640, 1), "float32", mean=(0.0,), std=(1.0,), steps=640)).body
    assert isinstance(long, GRU)
    assert long.stride == 10


def test_the_unit_scale_is_standardised_and_can_be_undone() -> None:
    x = torch.tensor([[[3.0, -150.0], [1.0, -250.0]]])
    kind = DENSE.modality
    unit = kind.unit(x, DENSE)
    torch.testing.assert_close(unit, torch.tensor([[[1.0, 1.0], [0.0, -1.0]]]))
    stored = kind.to_stored(unit, DENSE)
    assert stored is not None
    np.testing.assert_allclose(stored, x)
    assert torch.equal(kind.unflatten(kind.flat(x.repeat(1, 10, 1), DENSE, torch.float32), DENSE)[:, :2], unit)
    assert RAGGED.modality.to_stored(unit, RAGGED) is None


def test_raw_features_are_the_series_and_its_moments() -> None:
    x, mask = batch()
    raw = RAGGED.modality.raw_features(x * 50, RAGGED, mask)
    assert raw.shape == (5, (20 + 2) * 2)
    unit = RAGGED.modality.unit(x * 50, RAGGED)[1, :17]
    torch.testing.assert_close(raw[1, -4:], torch.cat([unit.mean(0), unit.std(0, unbiased=False)]))
    torch.testing.assert_close(raw[1, :2], unit[0])
    torch.testing.assert_close(raw[1, 38:40], unit[-1])
    note = RAGGED.modality.raw_note(RAGGED)
    assert note is not None
    assert "20 steps" in note
    assert DENSE.modality.raw_note(DENSE) is None


def test_specs_return_from_plain_values_and_damaged_ones_are_refused() -> None:
    for spec in (DENSE, RAGGED):
        assert type(spec).from_dict(spec.to_dict()) == spec
    for change in ({"shape": [1, 2, 3]}, {"mean": [1.0]}, {"steps": 0}, {"rate": "x"}):
        with pytest.raises(ValueError, match=next(iter(change))):
            type(DENSE).from_dict(DENSE.to_dict() | change)


def test_a_picture_shows_the_line() -> None:
    x = np.zeros((64, 1))
    x[32:] = 1
    drawn = np.array(draw_series(x, np.zeros(1), np.ones(1)))
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    ink = (drawn != 255).any(-1)
    low, high = ink[HEIGHT // 2 :], ink[: HEIGHT // 2]
    assert low[:, : WIDTH // 2 - 2].any()
    assert not low[:, WIDTH // 2 + 2 :].any()
    assert high[:, WIDTH // 2 + 2 :].any()
    spike = np.zeros((50_000, 1))
    spike[12_345] = 5
    peak = np.array(draw_series(spike, np.zeros(1), np.ones(1)))  # a short one of a long series
    assert (peak != 255).any(-1)[: HEIGHT // 4].any()


@pytest.mark.parametrize("x", [np.full((9, 2), np.nan), np.ones((1, 1)), np.ones((5, 12))])
def test_odd_series_are_drawn(x: np.ndarray) -> None:
    assert draw_series(x, np.zeros(x.shape[1]), np.zeros(x.shape[1])).size == (WIDTH, HEIGHT)


def test_pictures_of_one_source_have_one_scale() -> None:
    quiet, loud = (np.sin(np.arange(50.0))[:, None] * size for size in (0.1, 2))
    tall = [
        np.flatnonzero((np.array(draw_series(x, np.full(1, -2.0), np.full(1, 2.0))) != 255).any((1, 2)))
        for x in (quiet, loud)
    ]
    assert np.ptp(tall[0]) < 0.1 * HEIGHT < 0.8 * HEIGHT < np.ptp(tall[1])


def test_a_text_tells_the_length() -> None:
    data = SimpleNamespace(item=lambda row: np.ones((30, 2)), spec=SeriesSpec((30, 2), "float32", rate=10.0, steps=30))
    text = DENSE.modality.text(data, 0)
    assert text.startswith("30 steps, 2 channels, 3 s: 1 1")
